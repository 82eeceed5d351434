// What a client makes of the bytes that a server sends: strict, so that a server that is only nearly right is found.
// Also for fuzzing: it knows nothing of Catch.
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http_test {

inline std::string lower(std::string_view text) {
  std::string result(text);
  for (char& each : result) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
  return result;
}

struct answer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
  std::string body;
  bool is_chunked = false;
  bool is_until_end = false;  // of the connection, where nothing else says how long the body is

  // The first of that name; "<none>" where there is none.
  std::string field(std::string_view name) const {
    for (const auto& [each, value] : fields)
      if (each == name) return value;
    return "<none>";
  }
  std::size_t count(std::string_view name) const {
    return static_cast<std::size_t>(
        std::count_if(fields.begin(), fields.end(), [&](const auto& each) { return each.first == name; }));
  }
  bool says_close() const { return lower(field("connection")) == "close"; }
};

enum class parsed { incomplete, whole, malformed };

class answer_parser {
 public:
  // One answer at the beginning of `bytes`; `used`: how many are its own. `to_head`: it answers a HEAD request.
  // `at_end`: nothing follows, as the connection has ended.
  static parsed parse(std::string_view bytes, bool to_head, bool at_end, answer& into, std::size_t& used) {
    into = {};
    used = 0;
    const std::size_t head = bytes.find("\r\n\r\n");
    if (head == std::string_view::npos) return at_end ? parsed::malformed : parsed::incomplete;
    if (!parse_head(bytes.substr(0, head + 2), into)) return parsed::malformed;
    const std::string_view rest = bytes.substr(head + 4);
    std::size_t body = 0;
    const parsed how = parse_body(rest, to_head, at_end, into, body);
    used = head + 4 + body;
    return how == parsed::incomplete && at_end ? parsed::malformed : how;
  }

 private:
  static bool parse_head(std::string_view lines, answer& into) {
    const auto line = [&] {
      const std::size_t end = lines.find("\r\n");
      const std::string_view result = lines.substr(0, end);
      lines.remove_prefix(end + 2);
      return result;
    };
    const std::string_view first = line();
    if (first.size() < 13 || !first.starts_with("HTTP/1.1 ") || first[12] != ' ') return false;
    if (!is_number(first.substr(9, 3), 10, into.status) || into.status < 100 || into.status > 599) return false;
    while (!lines.empty()) {
      const std::string_view each = line();
      const std::size_t colon = each.find(": ");
      if (colon == std::string_view::npos || colon == 0) return false;
      for (const char byte : each)
        if ((static_cast<unsigned char>(byte) < 32 && byte != '\t') || byte == 127) return false;
      if (each.substr(0, colon).find_first_of(" \t") != std::string_view::npos) return false;
      into.fields.emplace_back(lower(each.substr(0, colon)), each.substr(colon + 2));
    }
    return into.count("content-length") + into.count("transfer-encoding") <= 1;
  }
  static parsed parse_body(std::string_view rest, bool to_head, bool at_end, answer& into, std::size_t& used) {
    const bool has_none = to_head || into.status < 200 || into.status == 204 || into.status == 304;
    if (has_none && into.status != 304 && !to_head && into.count("content-length") > 0) return parsed::malformed;
    if (has_none) return parsed::whole;
    if (into.count("transfer-encoding") == 1) {
      into.is_chunked = true;
      return into.field("transfer-encoding") == "chunked" ? parse_chunks(rest, into, used) : parsed::malformed;
    }
    if (into.count("content-length") == 1) {
      std::uint64_t size = 0;
      if (!is_number(into.field("content-length"), 10, size)) return parsed::malformed;
      into.body.assign(rest.substr(0, size));
      used = into.body.size();
      return into.body.size() == size ? parsed::whole : parsed::incomplete;
    }
    if (!into.says_close()) return parsed::malformed;  // nobody could tell where it ends
    into.is_until_end = true;
    into.body = rest;
    used = rest.size();
    return at_end ? parsed::whole : parsed::incomplete;
  }
  static parsed parse_chunks(std::string_view rest, answer& into, std::size_t& used) {
    const std::size_t all = rest.size();
    for (;;) {
      const std::size_t line = rest.find("\r\n");
      if (line == std::string_view::npos) return rest.size() > 20 ? parsed::malformed : parsed::incomplete;
      std::uint64_t size = 0;
      if (!is_number(rest.substr(0, line), 16, size)) return parsed::malformed;
      rest.remove_prefix(line + 2);
      into.body.append(rest.substr(0, size));
      if (rest.size() < size + 2) return parsed::incomplete;
      if (rest.substr(size, 2) != "\r\n") return parsed::malformed;
      rest.remove_prefix(size + 2);
      used = all - rest.size();
      if (size == 0) return parsed::whole;
    }
  }
  template <class Number>
  static bool is_number(std::string_view text, int base, Number& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into, base);
    return error == std::errc() && end == text.data() + text.size() && !text.empty() && text.front() != '-';
  }
};

// All answers to requests of which none was a HEAD, as "200 403 <malformed>".
inline std::string statuses_of(std::string_view bytes) {
  std::string result;
  while (!bytes.empty()) {
    answer each;
    std::size_t used = 0;
    const parsed how = answer_parser::parse(bytes, false, true, each, used);
    if (!result.empty()) result += ' ';
    if (how != parsed::whole) return result + "<malformed>";
    result += std::to_string(each.status);
    bytes.remove_prefix(used);
  }
  return result;
}

}  // namespace http_test
