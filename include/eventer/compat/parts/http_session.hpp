// Section 6 of eventer_aco.h: a request and its answer.
#pragma once

#include <climits>
#include <cstdarg>
#include <cstdio>

#include "eventer/compat/detail/http_session.hpp"
#include "eventer/compat/detail/needing_memory.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// `call` says whether it went; without memory it did not.
template <class Call>
mtev_boolean went(const Call& call) noexcept {
#if EVENTER_EXCEPTIONS
  try {
#endif
    return call() ? mtev_true : mtev_false;
#if EVENTER_EXCEPTIONS
  } catch (const std::exception&) {
    return mtev_false;
  }
#endif
}
inline std::string_view text_or_empty(const char* text) noexcept { return text == nullptr ? std::string_view() : text; }

// What a program that holds an event calls to have a floating request go on: eventer_trigger().
inline int resume_by_trigger(eventer_t e, int, void* closure, timeval*) {
  // Whoever triggers what is not added gives a reference away, and this one stays the session's; which may end in here.
  refer(e);
  static_cast<mtev_http_session_ctx*>(closure)->resume();
  return 0;
}
// nullptr: the connection is closed.
inline eventer_t event_of(mtev_http_connection& connection) {
  const int fd = connection.session->received.descriptor();
  if (fd < 0) return nullptr;
  if (connection.event == nullptr)
    connection.event = make_event(&resume_by_trigger, connection.session, fd, _event::kinds);
  return connection.event;
}

// Bytes of the body, as far as they have come; waits in a coroutine.
inline int consume(mtev_http_session_ctx& session, char* into, std::size_t size, int* mask) {
  received_request& received = session.received;
  if (size == 0) return 0;
  if (received.left() == 0 && !received.has_ended() && !received.failure()) {
    if (!session.is_aco()) {
      session.needs = mtev_http_session_ctx::need::more_body;
      *mask = EVENTER_READ | EVENTER_EXCEPTION;
      errno = EAGAIN;
      return -1;
    }
    (void)received.read_some();
  }
  if (const std::size_t count = received.take(into, size); count > 0) return static_cast<int>(count);
  return received.failure() ? failed(received.failure()) : 0;
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

mtev_http_request* mtev_http_session_request(mtev_http_session_ctx* ctx) { return &ctx->request; }
mtev_http_response* mtev_http_session_response(mtev_http_session_ctx* ctx) { return &ctx->response; }
mtev_http_connection* mtev_http_session_connection(mtev_http_session_ctx* ctx) { return &ctx->connection; }
mtev_acceptor_closure_t* mtev_http_session_acceptor_closure(mtev_http_session_ctx* ctx) { return ctx->rest.ac; }
void* mtev_http_session_dispatcher_closure(mtev_http_session_ctx* ctx) { return &ctx->rest; }
mtev_boolean mtev_http_session_aco(mtev_http_session_ctx* ctx) { return ctx->is_aco() ? mtev_true : mtev_false; }
mtev_boolean mtev_http_is_websocket(mtev_http_session_ctx* ctx) {
  return ctx->messages != nullptr ? mtev_true : mtev_false;
}
mtev_boolean mtev_http_websocket_queue_msg(mtev_http_session_ctx* ctx, int opcode, const unsigned char* msg,
                                           size_t len) {
  return eventer::compat::went([&] {
    return ctx->messages != nullptr && ctx->messages->put(opcode, {reinterpret_cast<const char*>(msg), len});
  });
}
void mtev_http_session_ref_inc(mtev_http_session_ctx* ctx) { ++ctx->owners; }
mtev_boolean mtev_http_session_ref_dec(mtev_http_session_ctx* ctx) {
  if (--ctx->owners != 0) return mtev_false;
  delete ctx;
  return mtev_true;
}
int mtev_http_session_req_consume(mtev_http_session_ctx* ctx, void* buf, const size_t len, const size_t blen,
                                  int* mask) {
  namespace compat = eventer::compat;
  const size_t size = std::min<size_t>(std::min(len, blen), INT_MAX);
  return static_cast<int>(compat::answer([&]() -> eventer::io_result<std::size_t> {
    const int count = compat::consume(*ctx, static_cast<char*>(buf), size, mask);
    if (count < 0) return std::error_code(errno, std::generic_category());
    return static_cast<std::size_t>(count);
  }));
}

// --- the request ---

const char* mtev_http_request_uri_str(mtev_http_request* r) { return r->session->received.path(); }
const char* mtev_http_request_method_str(mtev_http_request* r) {
  return eventer::compat::needing_memory([&] { return r->session->received.method(); });
}
const char* mtev_http_request_protocol_str(mtev_http_request* r) {
  return eventer::compat::needing_memory([&] { return r->session->received.protocol(); });
}
const char* mtev_http_request_orig_querystring(mtev_http_request* r) {
  return eventer::compat::needing_memory([&] { return r->session->received.query_string(); });
}
mtev_hash_table* mtev_http_request_querystring_table(mtev_http_request* r) {
  return eventer::compat::needing_memory([&] { return r->session->received.parameters(); });
}
const char* mtev_http_request_querystring(mtev_http_request* r, const char* key) {
  return static_cast<const char*>(
      mtev_hash_get(mtev_http_request_querystring_table(r), key, static_cast<int>(std::strlen(key))));
}
mtev_hash_table* mtev_http_request_headers_table(mtev_http_request* r) {
  return eventer::compat::needing_memory([&] { return r->session->received.fields(); });
}
size_t mtev_http_request_content_length(mtev_http_request* r) { return r->session->received.content_length(); }
size_t mtev_http_request_content_length_read(mtev_http_request* r) { return r->session->received.bytes_read(); }
mtev_boolean mtev_http_request_has_payload(mtev_http_request* r) {
  eventer::compat::received_request& received = r->session->received;
  return received.is_chunked() || received.content_length() > 0 ? mtev_true : mtev_false;
}
mtev_boolean mtev_http_request_payload_chunked(mtev_http_request* r) {
  return r->session->received.is_chunked() ? mtev_true : mtev_false;
}
mtev_boolean mtev_http_request_payload_complete(mtev_http_request* r) {
  return r->session->received.has_ended() ? mtev_true : mtev_false;
}
const void* mtev_http_request_get_upload(mtev_http_request* r, int64_t* size) {
  const auto [data, bytes] = r->session->received.upload();
  if (size != nullptr) *size = bytes;
  return data;
}
void mtev_http_request_set_upload(mtev_http_request* r, void* data, int64_t size, void (*f)(void*, int64_t, void*),
                                  void* closure) {
  r->session->received.set_upload(data, size, f, closure);
}
void mtev_http_request_start_time(mtev_http_request* r, struct timeval* t) { *t = r->session->received.began(); }
const char* mtev_http_request_user(mtev_http_request* r) { return r->session->received.user(); }
const char* mtev_http_request_auth(mtev_http_request* r) { return r->session->received.mechanism(); }
void mtev_http_request_set_auth(mtev_http_request* r, const char* user, const char* mech) {
  eventer::compat::needing_memory([&] { r->session->received.set_user(user, mech); });
}

// --- the answer ---

mtev_boolean mtev_http_response_status_set(mtev_http_session_ctx* ctx, int code, const char* reason) {
  namespace compat = eventer::compat;
  return compat::went([&] { return ctx->answer.set_status(code, compat::text_or_empty(reason)); });
}
mtev_boolean mtev_http_response_header_set(mtev_http_session_ctx* ctx, const char* name, const char* value) {
  namespace compat = eventer::compat;
  return compat::went([&] { return ctx->answer.set_field(name, compat::text_or_empty(value)); });
}
mtev_boolean mtev_http_response_option_set(mtev_http_session_ctx* ctx, uint32_t option) {
  return ctx->answer.set_option(option) ? mtev_true : mtev_false;
}
mtev_boolean mtev_http_response_append(mtev_http_session_ctx* ctx, const void* data, size_t len) {
  return eventer::compat::went([&] { return ctx->answer.append({static_cast<const char*>(data), len}); });
}
mtev_boolean mtev_http_response_append_str(mtev_http_session_ctx* ctx, const char* s) {
  return mtev_http_response_append(ctx, s, std::strlen(s));
}
mtev_boolean mtev_http_response_appendf(mtev_http_session_ctx* ctx, const char* fmt, ...) {
  va_list arguments;
  va_start(arguments, fmt);
  const mtev_boolean result = mtev_http_response_vappend(ctx, fmt, arguments);
  va_end(arguments);
  return result;
}
mtev_boolean mtev_http_response_vappend(mtev_http_session_ctx* ctx, const char* fmt, va_list ap) {
  return eventer::compat::went([&] {
    va_list again;
    va_copy(again, ap);
    const int size = std::vsnprintf(nullptr, 0, fmt, again);
    va_end(again);
    if (size < 0) return false;
    std::string text(static_cast<std::size_t>(size), '\0');
    (void)std::vsnprintf(text.data(), text.size() + 1, fmt, ap);
    return ctx->answer.append(text);
  });
}
mtev_boolean mtev_http_response_append_mmap(mtev_http_session_ctx* ctx, int fd, size_t len, int, off_t offset) {
  return eventer::compat::went([&] {
    constexpr std::size_t piece_bytes = std::size_t{64} << 10;
    const auto piece = std::make_unique<char[]>(piece_bytes);
    while (len > 0) {
      ssize_t got;
      do got = ::pread(fd, piece.get(), std::min(len, piece_bytes), offset);
      while (got < 0 && errno == EINTR);
      if (got <= 0 || !ctx->answer.append({piece.get(), static_cast<std::size_t>(got)})) return false;
      len -= static_cast<std::size_t>(got);
      offset += got;
    }
    return true;
  });
}
void mtev_http_response_auto_flush(mtev_http_session_ctx* ctx, size_t bytes) { ctx->answer.send_from(bytes); }
mtev_boolean mtev_http_response_flush(mtev_http_session_ctx* ctx, mtev_boolean final) {
  if (final != mtev_false) return mtev_http_response_end(ctx);
  return eventer::compat::went([&] { return ctx->answer.flush(); });
}
mtev_boolean mtev_http_response_flush_asynch(mtev_http_session_ctx* ctx, mtev_boolean final) {
  return mtev_http_response_flush(ctx, final);
}
mtev_boolean mtev_http_response_end(mtev_http_session_ctx* ctx) {
  return eventer::compat::went([&] { return ctx->answer.end(); });
}
size_t mtev_http_response_buffered(mtev_http_session_ctx* ctx) { return ctx->answer.buffered(); }
int mtev_http_response_status(mtev_http_response* r) { return r->session->answer.status(); }
mtev_boolean mtev_http_response_closed(mtev_http_response* r) {
  return r->session->answer.has_ended() ? mtev_true : mtev_false;
}
mtev_boolean mtev_http_response_complete(mtev_http_response* r) {
  return r->session->answer.is_complete() ? mtev_true : mtev_false;
}
size_t mtev_http_response_bytes_written(mtev_http_response* r) { return r->session->answer.bytes_sent(); }
mtev_hash_table* mtev_http_response_headers_table(mtev_http_response* r) {
  r->session->answer.list_fields(r->fields);
  return &r->fields;
}

// --- floating ---

eventer_t mtev_http_connection_event(mtev_http_connection* c) {
  return eventer::compat::needing_memory([&] { return eventer::compat::event_of(*c); });
}
eventer_t mtev_http_connection_event_float(mtev_http_connection* c) {
  if (c->session->is_aco()) return nullptr;
  const eventer_t event = mtev_http_connection_event(c);
  if (event != nullptr) eventer::compat::needing_memory([&] { c->session->float_away(); });
  return event;
}
void mtev_http_connection_resume_after_float(mtev_http_connection* c) { c->session->resume(); }
void mtev_http_session_resume_after_float(mtev_http_session_ctx* ctx) { ctx->resume(); }
void mtev_http_session_trigger(mtev_http_session_ctx* ctx, int) { ctx->resume(); }

}  // extern "C"
