// Chunked bodies to refuse, with the status. Seeds of fuzzing, too.
#pragma once

#include "refused_requests.hpp"

namespace wire {

inline std::vector<refused_request> refused_chunks() {
  std::vector<refused_request> all = {
      {with_chunks("FFFFFFFFFFFFFFFF\r\n"), 413},
      {with_chunks("100001\r\n"), 413},
      {with_chunks("5\r\nhello\r\nFFFFC\r\n"), 413},
      {with_chunks("5\r\nhello\r\nFFFFFFFFFFFFFFFB\r\n"), 413},  // with the 5 it is 0 in 64 bits
      {with_chunks("0\r\nx: " + std::string(8 << 10, 'y')), 431},
      {with_chunks("0" + many_fields(101)), 431},
  };
  const std::string bad[] = {
      // Sizes.
      "\r\n",
      "x\r\n",
      "g\r\n",
      "-5\r\n",
      "+5\r\n",
      "0x5\r\nhello\r\n0\r\n\r\n",
      "5h\r\n",
      "5_0\r\n",
      " 5\r\n",
      "5 \r\n",
      "5\t\r\n",
      "\t5\r\n",
      "5\n",
      "5\rx",
      "5\r\r\n",
      "\0"s,
      "5\0\r\n"s,
      "\n5\r\n",
      "10000000000000000\r\n",
      "00000000000000005\r\n",
      std::string(1000, '0') + "\r\n\r\n",
      "5,5\r\n",
      "5 ;a\r\n",
      "\xff\r\n",
      // Extensions.
      "5;\r\n",
      "5; a\r\n",
      "5;a \r\n",
      "5;a=\r\n",
      "5;a =b\r\n",
      "5;a= b\r\n",
      "5;=b\r\n",
      "5;a=b c\r\n",
      "5;a;;b\r\n",
      "5;a\n",
      "5;a=b\n",
      "5;a\rx",
      "5;a=\"x\r\n",
      "5;a=\"x\n\"\r\n",
      "5;a=\"\n\"\r\n",
      "5;a=\"\0\"\r\n"s,
      "5;a=\"\\\n\"\r\n",
      "5;a=\"\\\0\"\r\n"s,
      "5;a=\"x\"y\r\n",
      "5;a=x\"y\"\r\n",
      "5;a=\"\x7f\"\r\n",
      "5;\xc3\xa4\r\n",
      "5;a=\"x\r\ny\"\r\n",
      "5;" + std::string(256, 'a') + "\r\n",
      "5;a=\"" + std::string(300, ' ') + "\"\r\n",
      // Data that is longer or shorter than said.
      "5\r\nhelloo\r\n",
      "5\r\nhello\n0\r\n\r\n",
      "5\r\nhello\rx",
      "5\r\nhello0\r\n\r\n",
      "5\r\nhell\r\n0\r\n\r\n",
      "5\r\nhello\r\r\n",
      "5\r\nhello\r\n\r\n",
      // Trailers.
      "0\r\n x: y\r\n\r\n",
      "0\r\nx : y\r\n\r\n",
      "0\r\nx\r\n\r\n",
      "0\r\n: y\r\n\r\n",
      "0\r\nx: y\n\r\n",
      "0\r\nx: \0\r\n\r\n"s,
      "0\r\nx: y\r\n z\r\n\r\n",
      "0\r\n\n",
      "0\r\n\rx",
      "0\n\r\n",
      "0\r\nGET / HTTP/1.1\r\n\r\n",
  };
  for (const std::string& body : bad) all.push_back({with_chunks(body), 400});
  return all;
}

}  // namespace wire
