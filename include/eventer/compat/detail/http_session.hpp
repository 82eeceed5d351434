// mtev_http_session_ctx: one request with its answer, on the heap, for as long as its connection, a thread it floats
// to, or the program has a reference.
//
// What must not be broken: the request ends once (its call_closure is freed then): with the connection's part of it,
// or, where that has ended while the request floated, with the resume that is still owed. That of a WebSocket ends with
// its connection.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventer/base/counted_ptr.hpp"
#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/compat/detail/http_answer.hpp"
#include "eventer/compat/detail/http_request.hpp"

// What C gets pointers to.
struct mtev_http_request {
  mtev_http_session_ctx* session;
};
struct mtev_http_response {
  mtev_http_session_ctx* session;
  mtev_hash_table fields{};  // as a table, when it was asked for
};
struct mtev_http_connection {
  mtev_http_session_ctx* session;
  eventer_t event = nullptr;  // when it was asked for
};

// A rule; see rest_rules. What is atomic may be changed while requests are answered.
struct rest_url_dispatcher {
  rest_url_dispatcher(const char* for_method, const char* at_base, const char* matching, rest_request_handler calls,
                      rest_authorize_func_t asks, void* with)
      : method(for_method), base(at_base), expression(matching), handler(calls), authorizes(asks), closure(with) {}

  const std::string method, base, expression;
  std::string websocket_protocol;                              // under the lock of rest_rules, as the next
  rest_websocket_message_handler websocket_handler = nullptr;  // nullptr: it serves none
  std::atomic<rest_request_handler> handler;
  std::atomic<rest_authorize_func_t> authorizes;
  std::atomic<void*> closure;
  std::atomic<bool> is_aco{false};
  std::atomic<eventer_pool_t*> pool{nullptr};
};

namespace eventer::inline EVENTER_ABI::compat {

// What a session sends messages through that is a WebSocket's: websocket_messages.hpp, where that part is there.
class message_queue {
 public:
  virtual ~message_queue() = default;
  // Any thread. False: it is over, or this is no message.
  virtual bool put(int opcode, std::string_view payload) = 0;
  // The connection's coroutine: nothing more is sent.
  virtual void leave() noexcept = 0;
};

}  // namespace eventer::inline EVENTER_ABI::compat

struct mtev_http_session_ctx : eventer::counted<std::atomic<std::uint32_t>> {
  // On the request's coroutine. `captures`: of the rule's expression.
  mtev_http_session_ctx(const rest_url_dispatcher& rule, mtev_acceptor_closure_t& from, eventer::http::request& asked,
                        eventer::http::response& to, std::string path, std::vector<std::string> captures)
      : rule_(rule),
        is_aco_(rule.is_aco.load()),
        pool_(rule.pool.load()),
        remote_cn_(from.remote_cn),
        captures_(std::move(captures)),
        connection{this},
        request{this},
        response{this},
        received(asked, std::move(path)),
        answer(*this, asked, to) {
    for (std::string& each : captures_) parameters_.push_back(each.data());
    parameters_.push_back(nullptr);
    rest.http_ctx = this;
    rest.ac = &from;
    rest.remote_cn = remote_cn_.data();
    rest.nparams = static_cast<int>(captures_.size());
    rest.params = parameters_.data();
    rest.closure = rule.closure.load();
    rest.aco_enabled = is_aco_ ? mtev_true : mtev_false;
  }
  ~mtev_http_session_ctx() {
    end_request();
    mtev_hash_destroy(&response.fields, nullptr, nullptr);
  }

  const rest_url_dispatcher& rule() const noexcept { return rule_; }
  bool is_aco() const noexcept { return is_aco_; }
  eventer_pool_t* pool() const noexcept { return pool_; }  // nullptr: its connection's loop runs the handler

  // --- floating ---

  // In a classic handler: the request is dispatched again when resume() was called, which may be before the handler
  // has returned.
  void float_away() {
    const std::lock_guard lock(mutex_);
    if (!resumed_) resumed_.emplace();
    resumed_->reset();
    floats_ = eventer::counted_ptr(this);
    has_floated_ = true;
  }
  // Any thread; nothing where it does not float.
  void resume() {
    eventer::counted_ptr<mtev_http_session_ctx> until_the_end;
    bool ends = false;
    {
      const std::lock_guard lock(mutex_);
      if (!floats_) return;
      until_the_end = std::move(floats_);
      ends = has_left_;
      if (!ends) resumed_->set();
    }
    if (ends) end_request();
  }
  // Somebody else has ended the answer: the connection need not wait for him to say more.
  void note_end_elsewhere() {
    const std::lock_guard lock(mutex_);
    if (floats_ && resumed_) resumed_->set();
  }
  // Whether the handler that has returned has let it float.
  bool takes_float() noexcept { return std::exchange(has_floated_, false); }
  // On the request's coroutine. Errors: `cancelled`.
  void wait_for_resume() { eventer::shared_event(*resumed_).wait(); }

  // --- the end ---

  // The connection has agreed to become a WebSocket: the request and the answer are its again, and the rest stays.
  void become_websocket() {
    received.keep();
    received.detach();
    answer.detach();
  }
  // The connection has done with the request.
  void leave() noexcept {
    if (messages != nullptr) messages->leave();
    answer.detach();
    received.detach();
    if (connection.event != nullptr) connection.event->fd = -1;  // the number is another connection's soon
    {
      const std::lock_guard lock(mutex_);
      has_left_ = true;
      if (floats_) return;
    }
    end_request();
  }
  // Frees what belongs to the request; twice is once.
  void end_request() noexcept {
    clean();
    received.free_upload();
    if (connection.event != nullptr) (void)eventer::compat::drop_reference(std::exchange(connection.event, nullptr));
  }
  void clean() noexcept {
    void (*const free_it)(void*) = std::exchange(rest.call_closure_free, nullptr);
    void* const closure = std::exchange(rest.call_closure, nullptr);
    rest.fastpath = nullptr;
    if (free_it != nullptr) free_it(closure);
  }

 private:
  const rest_url_dispatcher& rule_;
  const bool is_aco_;
  eventer_pool_t* const pool_;
  std::string remote_cn_;  // the acceptor's closure ends with its connection, and a request that floats may be later
  std::vector<std::string> captures_;
  std::vector<char*> parameters_;

  std::mutex mutex_;
  std::optional<eventer::shared_event> resumed_;        // made by the first float
  eventer::counted_ptr<mtev_http_session_ctx> floats_;  // itself, while a resume is owed
  bool has_left_ = false;
  bool has_floated_ = false;  // the request's coroutine's

 public:
  // What a handler that has returned waits for.
  enum class need { nothing, whole_body, more_body };
  need needs = need::nothing;
  std::optional<std::string> file;  // to be answered with: see rest_files.hpp
  std::unique_ptr<eventer::compat::message_queue>
      messages;  // from before its authorization on, where it asks for a WebSocket

  mtev_http_connection connection;
  mtev_http_request request;
  mtev_http_response response;
  mtev_http_rest_closure rest{};
  eventer::compat::received_request received;
  eventer::compat::collected_answer answer;
};

namespace eventer::inline EVENTER_ABI::compat {

// --- what of collected_answer needs the session ---

// Runs as the coroutine that sends for others.
class sender_call {
 public:
  explicit sender_call(mtev_http_session_ctx& session) noexcept : session_(&session) {}
  sender_call(sender_call&&) noexcept = default;
  ~sender_call() {
    if (session_) session_->answer.note_sender_ended();
  }

  void operator()() const { session_->answer.send_for_others(); }

 private:
  counted_ptr<mtev_http_session_ctx> session_;
};

inline void collected_answer::begin() noexcept {
  if (std::exchange(begun_, true)) return;
  closes_ = closes_ || session_.rest.wants_shutdown != 0;
}
inline void collected_answer::ask_loop() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(asked_loop_, true)) return;
  }
  loop_.post([session = counted_ptr(&session_)] { session->answer.start_sender(); });
}
inline void collected_answer::start_sender() {
  {
    const std::lock_guard lock(mutex_);
    asked_loop_ = false;
    if (!due_ || over_) return;
  }
  if (sending_) return;  // who sends looks again
#if EVENTER_EXCEPTIONS
  try {
#endif
    sending_ = true;
    sender_ = loop_.spawn(spawn_options{.name = "http sender"}, sender_call(session_));
#if EVENTER_EXCEPTIONS
  } catch (const std::exception& failure) {
    log(log_level::error, "http: an answer can't be sent: %s", failure.what());
    const std::lock_guard lock(mutex_);
    give_up();
  }
#endif
}
inline void collected_answer::send_for_others() {
#if EVENTER_EXCEPTIONS
  try {
    send_all();
  } catch (const cancelled&) {  // the answer is given up
  }
#else
  send_all();
#endif
  if (is_complete()) session_.note_end_elsewhere();
}

}  // namespace eventer::inline EVENTER_ABI::compat
