// Lines of an access log: what was asked and answered, as web servers write it, or as JSON.
//
// What must not be broken: one request is one line, and each of its fields stays in its place, whatever the client
// sends. A log that can be made to say something else is worse than none.
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>

#include "eventer/base/clock.hpp"
#include "eventer/http/date.hpp"
#include "eventer/net/endpoint.hpp"

namespace eventer::inline EVENTER_ABI::http {

enum class access_format : std::uint8_t {
  combined,  // 127.0.0.1 - - [26/Nov/2026:02:25:28 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8"
  json,      // {"time":"2026-11-26T02:25:28.123Z","peer":"127.0.0.1:40000","method":"GET",...}
};

namespace detail {

struct access_line {
  std::chrono::system_clock::time_point time;  // when the request had come
  endpoint peer;
  std::string_view method, target;  // empty where the request could not be read
  unsigned minor_version = 1;
  int status = 200;
  std::uint64_t body_bytes = 0;
  duration took = duration::zero();
  std::string_view referer, user_agent, failure;

  static constexpr std::size_t longest_field = 4096;  // what is longer is cut, and "..." says so
};

// How many bytes the UTF-8 character at the beginning has; 0 where it is none (RFC 3629).
inline std::size_t utf8_size(std::string_view text) noexcept {
  const auto byte = [text](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto follows = [byte](std::size_t i, unsigned from = 0x80, unsigned to = 0xbf) {
    return byte(i) >= from && byte(i) <= to;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef)
    return follows(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf) && follows(2) ? 3 : 0;
  if (first >= 0xf0 && first <= 0xf4)
    return follows(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf) && follows(2) && follows(3) ? 4 : 0;
  return 0;
}

// As nginx does it: what is not visible ASCII, quotes and backslashes are \xNN.
inline void append_escaped(std::string& to, std::string_view text, bool blanks = true) {
  constexpr char digits[] = "0123456789ABCDEF";
  const bool cut = text.size() > access_line::longest_field;
  for (const char each : text.substr(0, access_line::longest_field)) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' || (byte == ' ' && !blanks))
      to.append("\\x").append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
    else
      to += each;
  }
  if (cut) to.append("...");
}
// What is not UTF-8 becomes U+FFFD, byte by byte; control characters, those beyond ASCII too, are \u00NN.
inline void append_json(std::string& to, std::string_view text) {
  const bool cut = text.size() > access_line::longest_field;
  text = text.substr(0, access_line::longest_field);
  to += '"';
  while (!text.empty()) {
    const std::size_t size = utf8_size(text);
    const auto last = static_cast<unsigned char>(text[size == 2 ? 1 : 0]);
    const bool control =
        (size == 1 && (last < 0x20 || last == 0x7f)) || (size == 2 && text[0] == '\xc2' && last < 0xa0);
    if (control) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u00%02x", static_cast<unsigned>(last));
      to.append(escape);
    } else if (size == 0) {
      to.append("\\ufffd");
    } else {
      if (text[0] == '"' || text[0] == '\\') to += '\\';
      to.append(text.substr(0, size));
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  to.append(cut ? "...\"" : "\"");
}
inline void append_number(std::string& to, std::uint64_t number) {
  char digits[24];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

// "[26/Nov/2026:02:25:28 +0000]" and "2026-11-26T02:25:28.123Z", whatever the locale is.
inline void append_time(std::string& to, std::chrono::system_clock::time_point when, access_format format) {
  using namespace std::chrono;
  const auto second = floor<seconds>(when);
  const std::time_t time = system_clock::to_time_t(second);
  const auto milliseconds = static_cast<unsigned>(duration_cast<std::chrono::milliseconds>(when - second).count());
  std::tm at{};
  ::gmtime_r(&time, &at);
  const auto part = [](int value, unsigned below = 100) { return static_cast<unsigned>(value) % below; };
  char text[40];
  if (format == access_format::json)
    std::snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", part(at.tm_year + 1900, 10000),
                  part(at.tm_mon + 1), part(at.tm_mday), part(at.tm_hour), part(at.tm_min), part(at.tm_sec),
                  milliseconds % 1000);
  else
    std::snprintf(text, sizeof text, "[%02u/%s/%04u:%02u:%02u:%02u +0000]", part(at.tm_mday),
                  month_names[at.tm_mon % 12], part(at.tm_year + 1900, 10000), part(at.tm_hour), part(at.tm_min),
                  part(at.tm_sec));
  to.append(text);
}

inline void append_combined_line(std::string& to, const access_line& line) {
  const std::string host = line.peer.family() == AF_UNIX ? line.peer.to_string() : line.peer.host();
  append_escaped(to, host.empty() ? "-" : host, false);  // which may be gone
  to.append(" - - ");
  append_time(to, line.time, access_format::combined);
  to.append(" \"");
  if (line.method.empty()) {
    to.append("-");
  } else {
    append_escaped(to, line.method);
    to.append(" ");
    append_escaped(to, line.target);
    to.append(line.minor_version == 0 ? " HTTP/1.0" : " HTTP/1.1");
  }
  to.append("\" ");
  append_number(to, static_cast<unsigned>(line.status));
  to.append(" ");
  append_number(to, line.body_bytes);
  for (const std::string_view each : {line.referer, line.user_agent}) {
    to.append(" \"");
    append_escaped(to, each.empty() ? "-" : each);
    to.append("\"");
  }
  to.append("\n");
}

inline void append_json_line(std::string& to, const access_line& line) {
  to.append("{\"time\":\"");
  append_time(to, line.time, access_format::json);
  to.append("\"");
  const auto member = [&to](const char* name, std::string_view text) {
    if (text.empty()) return;
    to.append(",\"").append(name).append("\":");
    append_json(to, text);
  };
  if (line.peer.family() != AF_UNSPEC) member("peer", line.peer.to_string());
  member("method", line.method);
  member("target", line.target);
  if (!line.method.empty()) member("version", line.minor_version == 0 ? "1.0" : "1.1");
  to.append(",\"status\":");
  append_number(to, static_cast<unsigned>(line.status));
  to.append(",\"bytes\":");
  append_number(to, line.body_bytes);
  to.append(",\"microseconds\":");
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(line.took).count();
  append_number(to, took > 0 ? static_cast<std::uint64_t>(took) : 0);
  member("referer", line.referer);
  member("user_agent", line.user_agent);
  member("failure", line.failure);
  to.append("}\n");
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
