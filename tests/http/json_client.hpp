// One request to a server over a connection in memory, and the answer taken apart: for tests of handlers.
#pragma once

#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/eventer.hpp"
#include "eventer/http/server.hpp"

struct http_reply {
  int status = 0;  // 0: what came is no answer
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;  // without its chunks' framing

  // Empty where there is none.
  std::string field(std::string_view name) const {
    for (const auto& [each, value] : fields)
      if (eventer::http::detail::equals_any_case(each, name)) return value;
    return {};
  }
};

inline std::string without_chunks(std::string_view text) {
  std::string body;
  for (;;) {
    const std::size_t size = std::strtoul(std::string(text.substr(0, text.find("\r\n"))).c_str(), nullptr, 16);
    if (size == 0 || text.find("\r\n") == std::string_view::npos) return body;
    text.remove_prefix(text.find("\r\n") + 2);
    body.append(text.substr(0, size));
    text.remove_prefix(std::min(text.size(), size + 2));
  }
}
inline http_reply parse_reply(std::string_view text) {
  http_reply reply;
  const std::size_t end = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.1 ") || end == std::string_view::npos) return reply;
  reply.status = std::atoi(std::string(text.substr(9, 3)).c_str());
  for (std::size_t at = text.find("\r\n") + 2; at < end + 2;) {
    const std::string_view line = text.substr(at, text.find("\r\n", at) - at);
    const std::size_t colon = line.find(": ");
    reply.fields.emplace_back(line.substr(0, colon), line.substr(colon + 2));
    at += line.size() + 2;
  }
  reply.body = text.substr(end + 4);
  if (reply.field("Transfer-Encoding") == "chunked") reply.body = without_chunks(reply.body);
  return reply;
}

// All that the server says to `text`, which is all that this client ever says. In a coroutine.
inline std::string say(const eventer::http::server& to, const std::string& text, const char* from = "127.0.0.1:40000") {
  auto [near, far, link] = eventer::memory_stream_pair();
  eventer::any_stream served(std::move(far));
  served.announce_peer(eventer::endpoint::parse(from).value());
  eventer::spawn([to, client = std::move(served)]() mutable { to(std::move(client)); });
  (void)near.write_all(text);
  (void)near.shutdown_write();
  std::string all;
  while (const auto got = near.read_borrowed()) all.append(got->data(), got->size());
  return all;
}

struct http_question {
  const char* method = "GET";
  std::string target = "/";
  std::string fields = {};  // "Name: value\r\n"
  std::optional<std::string> body = std::nullopt;
  const char* from = "127.0.0.1:40000";
};
inline http_reply ask(const eventer::http::server& to, const http_question& what) {
  std::string text = std::string(what.method) + " " + what.target + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
  text += what.fields;
  if (what.body) text += "Content-Length: " + std::to_string(what.body->size()) + "\r\n";
  return parse_reply(say(to, text + "\r\n" + what.body.value_or(""), what.from));
}

// GET on a connection that may go on; the answer has a Content-Length.
inline http_reply ask_on(eventer::tcp_stream& server, const std::string& path) {
  if (!server.write_all("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n")) return {};
  std::string got;
  const auto head = server.read_until(got, "\r\n\r\n", 4096);
  if (!head) return {};
  const std::size_t head_bytes = head->size();
  const auto body_bytes = static_cast<std::size_t>(std::atoi(parse_reply(got).field("Content-Length").c_str()));
  while (got.size() < head_bytes + body_bytes) {
    const auto more = server.read_borrowed();
    if (!more) return {};
    got.append(more->data(), more->size());
  }
  return parse_reply(got);
}
