// Section 5 of eventer_aco.h: rules, their handlers, uploads, files, and who may ask.
#pragma once

#include <stdexcept>
#include <string>

#include "eventer/compat/detail/rest_access.hpp"
#include "eventer/compat/detail/rest_server.hpp"
#include "eventer/compat/parts/http_session.hpp"

namespace eventer::inline EVENTER_ABI::compat {

#ifdef EVENTER_ACO_WITH_WEBSOCKET
inline constexpr bool has_websocket = true;
#else
inline constexpr bool has_websocket = false;
#endif

// Why a rule of this method can't serve WebSockets of this protocol; empty: it can.
inline std::string_view why_no_websocket(std::string_view method, const char* protocol) {
  if (!has_websocket)
    return "the program was built without WebSocket (EVENTER_ACO_WITH_WEBSOCKET), and this would never be served";
  if (method != rest_rules::websocket_method && method != "GET" && method != "*")
    return "a WebSocket begins with a GET: its rule is for GET, or for WS, which is WebSockets alone";
  if (protocol == nullptr || !http::detail::is_all(http::detail::http_class::token, protocol) || *protocol == '\0')
    return "a WebSocket's rule has a protocol, a token which clients ask for in Sec-WebSocket-Protocol";
  return {};
}

// nullptr: with a line in the log that says why.
inline rest_url_dispatcher* new_rule(const char* method, const char* base, const char* expression,
                                     rest_request_handler handler, rest_websocket_message_handler on_message,
                                     const char* protocol, rest_authorize_func_t authorizes, void* closure) {
  try {
    if (on_message != nullptr)
      if (const std::string_view why = why_no_websocket(method, protocol); !why.empty())
        throw std::invalid_argument(
            std::string("rule ").append(base).append(" ").append(expression).append(": ").append(why));
    return &rest_rules::of_process().add(method, base, expression, handler, authorizes, closure, on_message,
                                         on_message == nullptr ? "" : protocol);
  } catch (const std::exception& refusal) {
    mtevL(mtev_error, "REST %s\n", refusal.what());
    return nullptr;
  }
}

inline std::string in_json(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char each : text) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte < 0x20)
      result.append("\\u00").append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
    else
      (each == '"' || each == '\\' ? result.append(1, '\\') : result).append(1, each);
  }
  return result.append(1, '"');
}
inline int disclose(mtev_http_rest_closure_t* rest, int, char**) {
  std::string list;
  rest_rules::of_process().visit([&list](const rest_url_dispatcher& rule) {
    list.append(list.empty() ? "[\n" : ",\n").append(" {\"method\": ").append(in_json(rule.method));
    list.append(", \"base\": ").append(in_json(rule.base)).append(", \"expression\": ");
    list.append(in_json(rule.expression)).append("}");
  });
  mtev_http_response_ok(rest->http_ctx, "application/json");
  (void)mtev_http_response_append(rest->http_ctx, list.data(), list.size());
  (void)mtev_http_response_append_str(rest->http_ctx, "\n]\n");
  (void)mtev_http_response_end(rest->http_ctx);
  return 0;
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

void mtev_http_rest_init(void) {
  // A second time it is there already.
  eventer::compat::needing_memory(
      [] { eventer::compat::add_connection_type("http_rest_api", &eventer::compat::serve_rest); });
  eventer::compat::needing_memory([] { eventer::compat::rest_access::of_process().load(false); });
}
void mtev_http_rest_load_rules(void) {
  eventer::compat::needing_memory([] { eventer::compat::rest_access::of_process().load(true); });
}

mtev_rest_mountpoint_t* mtev_http_rest_new_rule_auth_closure(const char* method, const char* base,
                                                             const char* expression, rest_request_handler f,
                                                             rest_websocket_message_handler wf,
                                                             const char* websocket_protocol, rest_authorize_func_t auth,
                                                             void* closure) {
  return eventer::compat::new_rule(method, base, expression, f, wf, websocket_protocol, auth, closure);
}
mtev_rest_mountpoint_t* mtev_http_rest_new_rule(const char* method, const char* base, const char* expression,
                                                rest_request_handler f) {
  return eventer::compat::new_rule(method, base, expression, f, nullptr, nullptr, &mtev_http_rest_client_cert_auth,
                                   nullptr);
}
int mtev_http_rest_register_auth_closure(const char* method, const char* base, const char* expression,
                                         rest_request_handler f, rest_websocket_message_handler wf,
                                         const char* websocket_protocol, rest_authorize_func_t auth, void* closure) {
  return eventer::compat::new_rule(method, base, expression, f, wf, websocket_protocol, auth, closure) != nullptr ? 0
                                                                                                                  : -1;
}
int mtev_http_rest_register_auth(const char* method, const char* base, const char* expression, rest_request_handler f,
                                 rest_authorize_func_t auth) {
  return mtev_http_rest_register_auth_closure(method, base, expression, f, nullptr, nullptr, auth, nullptr);
}
int mtev_http_rest_register_closure(const char* method, const char* base, const char* expression,
                                    rest_request_handler f, void* closure) {
  return mtev_http_rest_register_auth_closure(method, base, expression, f, nullptr, nullptr,
                                              &mtev_http_rest_client_cert_auth, closure);
}
int mtev_http_rest_register(const char* method, const char* base, const char* expression, rest_request_handler f) {
  return mtev_http_rest_register_closure(method, base, expression, f, nullptr);
}
int mtev_http_rest_websocket_register_auth_closure(const char* base, const char* expression, const char* protocol,
                                                   rest_websocket_message_handler f, rest_authorize_func_t auth,
                                                   void* closure) {
  return mtev_http_rest_register_auth_closure("WS", base, expression, nullptr, f, protocol, auth, closure);
}
int mtev_http_rest_websocket_register_auth(const char* base, const char* expression, const char* protocol,
                                           rest_websocket_message_handler f, rest_authorize_func_t auth) {
  return mtev_http_rest_websocket_register_auth_closure(base, expression, protocol, f, auth, nullptr);
}
int mtev_http_rest_websocket_register_closure(const char* base, const char* expression, const char* protocol,
                                              rest_websocket_message_handler f, void* closure) {
  return mtev_http_rest_websocket_register_auth_closure(base, expression, protocol, f, nullptr, closure);
}
int mtev_http_rest_websocket_register(const char* base, const char* expression, const char* protocol,
                                      rest_websocket_message_handler f) {
  return mtev_http_rest_websocket_register_auth_closure(base, expression, protocol, f, nullptr, nullptr);
}

void mtev_rest_mountpoint_set_aco(mtev_rest_mountpoint_t* m, mtev_boolean enabled) {
  m->is_aco.store(enabled != mtev_false);
}
void mtev_rest_mountpoint_set_auth(mtev_rest_mountpoint_t* m, rest_authorize_func_t f) { m->authorizes.store(f); }
void mtev_rest_mountpoint_set_handler(mtev_rest_mountpoint_t* m, rest_request_handler f) { m->handler.store(f); }
void mtev_rest_mountpoint_set_closure(mtev_rest_mountpoint_t* m, void* closure) { m->closure.store(closure); }
void mtev_rest_mountpoint_set_websocket(mtev_rest_mountpoint_t* m, const char* protocol,
                                        rest_websocket_message_handler f) {
  eventer::compat::needing_memory([&] {
    if (f != nullptr) {
      const std::string_view why = eventer::compat::why_no_websocket(m->method, protocol);
      if (!why.empty()) {
        mtevL(mtev_error, "REST rule %s %s: %s\n", m->base.c_str(), m->expression.c_str(), why.data());
        return;
      }
    }
    eventer::compat::rest_rules::of_process().set_websocket(*m, f == nullptr ? "" : protocol, f);
  });
}
void mtev_rest_mountpoint_set_eventer_pool(mtev_rest_mountpoint_t* m, eventer_pool_t* pool) { m->pool.store(pool); }

mtev_boolean mtev_http_rest_client_cert_auth(mtev_http_rest_closure_t* restc, int, char**) {
  namespace compat = eventer::compat;
  const compat::received_request& received = restc->http_ctx->received;
  return compat::went([&] {
    const auto text = [](const char* value) { return value == nullptr ? std::string_view() : std::string_view(value); };
    return compat::rest_access::of_process().allows({.user = text(received.user()),
                                                     .mechanism = text(received.mechanism()),
                                                     .common_name = text(restc->remote_cn),
                                                     .url = received.path(),
                                                     .peer = compat::remote_of(*restc->ac),
                                                     .listener = restc->ac->config});
  });
}

mtev_boolean mtev_rest_complete_upload(mtev_http_rest_closure_t* restc, int* mask) {
  namespace compat = eventer::compat;
  mtev_http_session_ctx& session = *restc->http_ctx;
  if (session.received.has_ended()) return mtev_true;
  *mask = 0;
  if (session.received.failure()) return mtev_false;
  if (!session.is_aco()) {
    session.needs = mtev_http_session_ctx::need::whole_body;
    *mask = EVENTER_READ | EVENTER_EXCEPTION;
    return mtev_false;
  }
  const ssize_t read = compat::answer([&]() -> eventer::io_result<std::size_t> {
    if (const std::error_code failure = session.received.read_all()) return failure;
    return std::size_t{0};
  });
  return read == 0 && session.received.has_ended() ? mtev_true : mtev_false;
}
void* rest_get_raw_upload(mtev_http_rest_closure_t* restc, int* mask, int* complete, int* size) {
  *complete = mtev_rest_complete_upload(restc, mask) != mtev_false ? 1 : 0;
  const auto [data, bytes] = restc->http_ctx->received.upload();
  *size = *complete != 0 ? static_cast<int>(bytes) : 0;
  return *complete != 0 ? data : nullptr;
}

int mtev_rest_simple_file_handler(mtev_http_rest_closure_t* restc, int npats, char** pats) {
  if (npats == 1) {
    restc->http_ctx->file = pats[0];
    return 0;
  }
  mtevL(mtev_error, "mtev_rest_simple_file_handler: its rule needs one group, which is the file, and has %d\n", npats);
  mtev_http_response_server_error(restc->http_ctx, "text/plain");
  (void)mtev_http_response_end(restc->http_ctx);
  return 0;
}
void mtev_http_rest_disclose_endpoints(const char* base, const char* expr) {
  (void)mtev_http_rest_register("GET", base, expr, &eventer::compat::disclose);
}
void mtev_http_rest_clean_request(mtev_http_rest_closure_t* restc) { restc->http_ctx->clean(); }

}  // extern "C"
