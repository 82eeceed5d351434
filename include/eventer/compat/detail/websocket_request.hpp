// A request that asks for a WebSocket, to the end of its connection: which rule serves it, who may, and the calls of
// the rule's handler for messages.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/compat/detail/rest_calls.hpp"
#include "eventer/compat/detail/rest_rules.hpp"
#include "eventer/compat/detail/websocket_messages.hpp"
#include "eventer/websocket/serve.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// What serves the connection behind the 101, on the heap: messages lie here while a handler has them, as it may wait
// and others may look at them. The session ends with it.
class websocket_call {
 public:
  websocket_call(counted_ptr<mtev_http_session_ctx> session, websocket_messages& messages) noexcept
      : session_(std::move(session)), messages_(&messages) {}
  websocket_call(websocket_call&&) noexcept = default;
  ~websocket_call() {
    if (session_) session_->leave();
  }

  void operator()(http::websocket& socket) {
    messages_->begin(socket);
    begin_to_idle(*session_->rest.ac, socket.stream().native_handle());
    for (;;) {
      auto got = socket.read();
      if (!got) break;
      message_ = std::move(*got);
      if (!handle()) break;
    }
    end_to_idle(*session_->rest.ac);
    messages_->send_rest();
  }

 private:
  // False: the handler has enough.
  EVENTER_NOINLINE bool handle() {
    mtev_http_rest_closure_t& rest = session_->rest;
    note_use(*rest.ac);
    int result = -1;
    if (const rest_websocket_message_handler handler = rest.websocket_handler_memo) {
      result = 0;
      frame mine{.argument = session_.get()};
      call_in(mine, [&] {
        result = handler(&rest, message_.is_text ? websocket_opcode::text : websocket_opcode::binary,
                         reinterpret_cast<const unsigned char*>(message_.data.data()), message_.data.size());
      });
    }
    message_.data = std::string();  // a parked connection holds none
    return result == 0 && rest.wants_shutdown == 0;
  }

  counted_ptr<mtev_http_session_ctx> session_;
  websocket_messages* messages_;
  http::websocket_message message_;
};

// Pages of which origins may connect: the listener's config says it under "websocket_origins", with blanks in between.
inline std::vector<std::string> origins_for(const mtev_acceptor_closure_t& from) {
  const char* found = nullptr;
  constexpr std::string_view key = "websocket_origins";
  std::vector<std::string> all;
  if (from.config == nullptr ||
      mtev_hash_retr_str(from.config, key.data(), static_cast<int>(key.size()), &found) == 0 || found == nullptr)
    return all;
  std::string_view left = found;
  while (!left.empty()) {
    const std::string_view one = left.substr(0, left.find(' '));
    left.remove_prefix(std::min(left.size(), one.size() + 1));
    if (!one.empty()) all.emplace_back(one);
  }
  return all;
}

struct websocket_rule {
  const rest_url_dispatcher* rule = nullptr;  // nullptr: none
  rest_websocket_message_handler handler = nullptr;
  std::string protocol{};
};
// For the first protocol of those that the client offers for which there is one.
inline websocket_rule websocket_rule_for(const http::request& asked, std::string_view path, http::route_match& found) {
  for (std::size_t i = 0; i < asked.header_count(); ++i) {
    const http::header_field field = asked.header(i);
    if (!http::detail::equals_any_case(field.name, "Sec-WebSocket-Protocol")) continue;
    std::string_view offered = field.value;
    while (!offered.empty()) {
      const std::string_view protocol = http::detail::take_element(offered);
      const auto [rule, handler] = rest_rules::of_process().find_websocket(protocol, path, found);
      if (rule != nullptr) return {rule, handler, std::string(protocol)};
    }
  }
  return {};
}

inline counted_ptr<mtev_http_session_ctx> websocket_session(const websocket_rule& by, http::request& asked,
                                                            http::response& answer, std::string path,
                                                            std::vector<std::string> captures) {
  auto session = make_counted<mtev_http_session_ctx>(*by.rule, **present_connection, asked, answer, std::move(path),
                                                     std::move(captures));
  session->rest.websocket_handler_memo = by.handler;
  session->messages = std::make_unique<websocket_messages>(*session);
  return session;
}

// Agrees, or answers why not. Errors: as a handler of http::server.
inline void agree(const counted_ptr<mtev_http_session_ctx>& session, http::request& asked, http::response& answer,
                  std::string protocol) {
  struct unless_agreed {
    mtev_http_session_ctx* session;
    ~unless_agreed() {
      if (session != nullptr) session->leave();
    }
  } refused{session.get()};
  if (!is_admitted(*session) && !session->answer.has_said_anything()) throw http::error(403, "403 Forbidden\n");
  if (session->answer.has_said_anything()) return finish(*session);
  const mtev_acceptor_closure_t& from = *session->rest.ac;
  http::websocket_options options{.max_message = received_request::upload_limit(), .origins = origins_for(from)};
  options.protocols.push_back(std::move(protocol));
  auto& messages = static_cast<websocket_messages&>(*session->messages);
  // From here on it is the call that sees to the session's end.
  refused.session = nullptr;
  if (http::serve_websocket(asked, answer, websocket_call(session, messages), options)) session->become_websocket();
}

// False: it does not ask for a WebSocket of any rule, and is a request as others are.
EVENTER_NOINLINE inline bool serve_websocket_request(http::request& asked, http::response& answer) {
  if (asked.method() != "GET" || !asked.has_token("Upgrade", "websocket")) return false;
  std::string path = decoded_path(asked);
  http::route_match found;
  websocket_rule by = websocket_rule_for(asked, path, found);
  if (by.rule == nullptr) {
    if (!rest_rules::of_process().is_websocket(path)) return false;
    answer.status(400).text("none of the protocols in Sec-WebSocket-Protocol is spoken here\n");
    return true;
  }
  std::vector<std::string> captures = captures_of(found);
  agree(websocket_session(by, asked, answer, std::move(path), std::move(captures)), asked, answer,
        std::move(by.protocol));
  return true;
}

}  // namespace eventer::inline EVENTER_ABI::compat
