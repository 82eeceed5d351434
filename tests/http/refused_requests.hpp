// Requests to refuse, with the status: as attackers, broken clients and broken proxies send them. Seeds of fuzzing,
// too.
#pragma once

#include <string>
#include <vector>

#include "request_parts.hpp"

namespace wire {

struct refused_request {
  std::string bytes;
  int status;
};

inline std::vector<refused_request> refused_lines() {
  std::vector<refused_request> all = {
      {with_line("GET / HTTP/2.0"), 505},
      {with_line("GET / HTTP/3.0"), 505},
      {with_line("GET / HTTP/0.9"), 505},
      {with_line("GET / HTTP/9.1"), 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, 400},  // a TLS ClientHello
      {"SSH-2.0-OpenSSH_9.2p1\r\n", 400},
      {"GET /\r\n", 400},  // HTTP/0.9
      {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: a\n\n", 400},
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\rHost: a\r\n\r\n", 400},
      {with_line("CONNECT a:443 HTTP/1.1"), 501},
      {with_line("CONNECT [::1]:443 HTTP/1.1"), 501},
      {"GET /" + std::string(8 << 10, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
      {"GET /" + std::string(100'000, 'x'), 414},
      {std::string(9000, 'X'), 414},
  };
  const std::string bad[] = {
      "GET / ", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1",
      "GET /\tHTTP/1.1", "GET / http/1.1", "GET / HTTP/1.10", "GET / HTTP/1,1", "GET / HTTP/11", "GET / HTTP/.1",
      "GET / HTTP/1.", "GET / HTTP/01.1", "GET / HTTP/+1.1", "GET / HTTPS/1.1", "GET / HTTP 1.1", "GET / HTTP/1.1 x",
      "GET HTTP/1.1", "G@T / HTTP/1.1", "\"GET\" / HTTP/1.1", ": / HTTP/1.1", "GET: / HTTP/1.1",
      "G\xc3\x89T / HTTP/1.1",
      // Targets.
      "GET /a b HTTP/1.1", "GET /\0 HTTP/1.1"s, "GET /\x01 HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /\x80 HTTP/1.1",
      "GET /\xc3\xa4 HTTP/1.1", "GET /%zz HTTP/1.1", "GET /%4 HTTP/1.1", "GET /% HTTP/1.1", "GET /?%G0 HTTP/1.1",
      "GET /%%41 HTTP/1.1", "GET /#top HTTP/1.1", "GET * HTTP/1.1", "POST * HTTP/1.1", "OPTIONS *a HTTP/1.1",
      "GET a HTTP/1.1", "GET a/b HTTP/1.1", "GET a:80 HTTP/1.1", "GET ?a HTTP/1.1", "GET ../a HTTP/1.1",
      "GET ftp://a/ HTTP/1.1", "GET http:/a HTTP/1.1", "GET http:a HTTP/1.1", "GET http:///a HTTP/1.1",
      "GET http:// HTTP/1.1", "GET http://u@a/ HTTP/1.1", "GET http://u:p@a/ HTTP/1.1", "GET http://:80/ HTTP/1.1",
      "GET http://a:65536/ HTTP/1.1", "GET http://a:b/ HTTP/1.1", "GET http://[::1/ HTTP/1.1",
      "GET http://a\\b/ HTTP/1.1", "CONNECT / HTTP/1.1", "CONNECT a HTTP/1.1", "CONNECT http://a:443/ HTTP/1.1",
      "CONNECT :443 HTTP/1.1"};
  for (const std::string& line : bad) all.push_back({with_line(line), 400});
  return all;
}

inline std::vector<refused_request> refused_fields() {
  std::vector<refused_request> all = {
      {"GET / HTTP/1.1\r\n\r\n", 400},  // no Host
      {"GET / HTTP/1.2\r\n\r\n", 400},
      {"GET http://a/ HTTP/1.1\r\n\r\n", 400},  // not even so
      {"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},  // nothing to be folded onto
      {"GET / HTTP/1.1\r\nHost: a\n\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\n\rX", 400},
      {with_fields("x: y" + many_fields(99)), 431},
      {with_fields("x: " + std::string(16 << 10, 'y')), 431},
      {"GET / HTTP/1.1\r\n" + std::string(20'000, 'x'), 431},
      {with_fields("Content-Length: 1048577"), 413},
      {with_fields("Content-Length: 18446744073709551615"), 413},
      {with_fields("Expect: 200-ok"), 417},
      {with_fields("Expect: 100-continue, 200-ok"), 417},
      {with_fields("Expect:"), 417},
      {with_fields("Transfer-Encoding: gzip, chunked"), 501},
      {with_fields("Transfer-Encoding: gzip,chunked"), 501},
      {with_fields("Transfer-Encoding: identity, chunked"), 501},
      {with_fields("Transfer-Encoding: gzip;level=9, chunked"), 501},
      {with_fields("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), 501},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", 400},
  };
  const std::string bad[] = {
      // Lines.
      "x: y\r\n z",
      "x: y\r\n\tz",
      "x:\r\n y",
      "Content-Length:\r\n 5",
      "Transfer-Encoding:\r\n chunked",
      "x: y\r\n \r\n",
      "x : y",
      "x\t: y",
      "x y: z",
      ": y",
      ":",
      "x",
      "x\r\ny: z",
      "(x): y",
      "x/y: z",
      "x@y: z",
      "\"x\": y",
      "\0x: y"s,
      "x\0: y"s,
      "\xc3\xa4: y",
      "x\x7f: y",
      "x: \0"s,
      "x: a\0b"s,
      "x: \x01",
      "x: \x1b[0m",
      "x: \x7f",
      "x: a\rb",
      "x: a\nb",
      "x: a\ny: b",
      "x: a\r\ry: b",
      "x: a\n\r\ny: b",
      // Host.
      "Host: a",
      "Host: b",
      "host: a",
      "Host:",
      // Content-Length.
      "Content-Length:",
      "Content-Length: -1",
      "Content-Length: +1",
      "Content-Length: -0",
      "Content-Length: 1 1",
      "Content-Length: 1,1",
      "Content-Length: 1, 1",
      "Content-Length: 1, 2",
      "Content-Length: 1,",
      "Content-Length: ,1",
      "Content-Length: 0x10",
      "Content-Length: 1.0",
      "Content-Length: 1e3",
      "Content-Length: 1;a",
      "Content-Length: a",
      "Content-Length: \"1\"",
      "Content-Length: 1_000",
      "Content-Length: 18446744073709551616",
      "Content-Length: 99999999999999999999999999",
      "Content-Length: \xd9\xa1",
      "Content-Length: 1\x0b",
      "Content-Length: 1\r\nContent-Length: 1",
      "Content-Length: 1\r\nContent-Length: 2",
      "Content-Length: 1\r\ncontent-length: 1",
      "Content-Length : 1",
      "Content-Length: 0\r\nContent-Length:",
      // Transfer-Encoding.
      "Transfer-Encoding:",
      "Transfer-Encoding: gzip",
      "Transfer-Encoding: identity",
      "Transfer-Encoding: xchunked",
      "Transfer-Encoding: chunkedx",
      "Transfer-Encoding: chunked, gzip",
      "Transfer-Encoding: chunked, identity",
      "Transfer-Encoding: chunked, chunked",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
      "Transfer-Encoding: gzip, chunked, chunked",
      "Transfer-Encoding: chunked, gzip, chunked",
      "Transfer-Encoding: chunked;q=1",
      "Transfer-Encoding: chunked gzip",
      "Transfer-Encoding: ,chunked",
      "Transfer-Encoding: chunked,",
      "Transfer-Encoding: chunked ,",
      "Transfer-Encoding: ,",
      "Transfer-Encoding: gzip,,chunked",
      "Transfer-Encoding: \"chunked\"",
      "Transfer-Encoding: 'chunked'",
      "Transfer-Encoding: chu nked",
      "Transfer-Encoding: chunked\x0b",
      "Transfer-Encoding: \x0b"
      "chunked",
      "Transfer-Encoding: x;a=\",chunked\"",
      "Transfer-Encoding : chunked",
      "Transfer-Encoding: chunked\r\n , gzip",
      "Transfer-Encoding: chunked\r\nContent-Length: 5",
      "Content-Length: 5\r\nTransfer-Encoding: chunked",
      "Content-Length: 5\r\nTransfer-Encoding: gzip",
      "Transfer-Encoding: gzip\r\nContent-Length: 5",
      "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked",
      "Transfer-Encoding: gzip, chunked\r\nContent-Length: 5",
      "Content-Length: 5\r\nTransfer-Encoding:",
      "Connection: \"close\"",
  };
  for (const std::string& fields : bad) all.push_back({with_fields(fields), 400});
  const std::string hosts[] = {"a b",
                               "a, b",
                               "a,b",
                               "a/b",
                               "a?b",
                               "a#b",
                               "u@a",
                               "u:p@a",
                               "a:b",
                               "a:-1",
                               "a:+1",
                               "a:80:80",
                               "a:65536",
                               "a:99999999999",
                               ":80",
                               ":",
                               "[::1",
                               "::1",
                               "[::g]",
                               "[]",
                               "[::1]x",
                               "[::1]:x",
                               "[fe80::1%25eth0]",
                               "[v1.a]",
                               "[1.2.3.4]",
                               "a%",
                               "a%4",
                               "a%zz",
                               "a\\b",
                               "http://a",
                               "\xc3\xa4",
                               "a\tb",
                               "<a>",
                               "\"a\"",
                               "a|b"};
  for (const std::string& host : hosts) all.push_back({with_host(host), 400});
  return all;
}

}  // namespace wire
