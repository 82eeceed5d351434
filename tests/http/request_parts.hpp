// What the tables of requests are put together from.
#pragma once

#include <string>

namespace wire {

using namespace std::string_literals;

inline std::string with_line(const std::string& line) { return line + "\r\nHost: a\r\n\r\n"; }
inline std::string with_fields(const std::string& fields) {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n\r\n";
}
inline std::string with_host(const std::string& host) { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"; }
inline std::string with_chunks(const std::string& body) { return with_fields("Transfer-Encoding: chunked") + body; }
inline std::string many_fields(int count) {
  std::string fields;
  for (int i = 0; i < count; ++i) fields += "\r\nx: y";
  return fields;
}

}  // namespace wire
