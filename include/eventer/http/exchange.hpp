// exchange: what a connection needs while requests of it are being answered, and not while it is idle: buffers, the
// request, the answer. Each loop keeps a few for the next ones.
//
// What must not be broken: an answer is sent for every request that can be read, in the order of the requests; and
// where it can't be known where a request ends, nothing behind it is read.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/coro/deadline_scope.hpp"
#include "eventer/http/head_scanner.hpp"
#include "eventer/http/router.hpp"
#include "eventer/http/server_options.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// What a server serves; the same for all loops, and never changed.
struct service {
  service(router&& from, server_options&& with) : routes(std::move(from)), options(std::move(with)) {
    options.limits = without_zeros(options.limits);
    for_heads = options.limits;
    for_heads.body = UINT64_MAX;  // the route decides
    routes.table_.compile();
    for (const route& each : routes.routes_) {
      http::limits for_it = options.limits;
      if (each.body_limit_) for_it.body = *each.body_limit_;
      if (each.body_idle_) for_it.body_idle = *each.body_idle_;
      if (each.response_stall_) for_it.response_stall = *each.response_stall_;
      by_route.push_back(without_zeros(for_it));
    }
  }
  // A time of zero is none.
  static http::limits without_zeros(http::limits bounds) noexcept {
    for (duration* const each : {&bounds.header_time, &bounds.body_idle, &bounds.request_time, &bounds.response_stall,
                                 &bounds.keep_alive_idle})
      if (*each <= duration::zero()) *each = duration::max();
    return bounds;
  }

  router routes;
  server_options options;
  limits for_heads;
  std::vector<limits> by_route;
};

// What becomes of the connection.
enum class afterwards : std::uint8_t {
  idle,          // it waits for the next request
  close,         // the client knows that it ends, and sends nothing more
  close_slowly,  // the client may be sending still: a reset must not destroy what it is to read
  given_away,    // somebody else has it
  inherited,     // somebody gets it when this exchange is given back: take_heir()
};

class exchange {
 public:
  exchange() : asked_(in_, out_), answer_(in_, out_) {}

  // Answers what `received` begins with, reads on and answers, until nothing is left. `requests` counts.
  afterwards serve(const service& by, any_stream& on, std::uint32_t& requests, std::string_view received) {
    by_ = &by;
    stream_ = &on;
    in_.append(received);
    out_.open(on);
    for (;;) {
      in_.begin_request();
      const bool has_request = read_head();
      if (!has_request && !refused_) return afterwards::close;
      on.begin_request();  // which a server that drains still answers
      ++requests;
      if (const afterwards then = has_request ? answer(requests) : refuse_unread(); then != afterwards::idle)
        return then;
      on.end_request();
      if (in_.empty()) return out_.send(stall()) ? afterwards::close : afterwards::idle;
      if (out_.unsent() >= output::held_at_most && out_.send(stall())) return afterwards::close;
      out_.send_when_waiting();
    }
  }
  // Requires: serve() has answered `inherited`.
  std::unique_ptr<heir> take_heir() { return answer_.take_heir(); }
  // Makes it ready for another connection.
  void reset() noexcept {
    in_.reset();
    out_.drop();
    asked_.release();
    answer_.release();
  }

 private:
  const limits& bounds() const noexcept { return by_->options.limits; }
  duration stall() const noexcept { return bounds().response_stall; }

  // --- reading the head ---

  // False: there is no more request, or refused_ says why it can't be one.
  bool read_head() {
    scanner_.reset();
    refused_ = {};
    body_deadline_ = end_of(bounds().request_time);
    time_point deadline = no_deadline;
    for (bool is_first = true;; is_first = false) {
      const head_scanner::state state = scanner_.scan(in_.view(), by_->for_heads);
      if (EVENTER_LIKELY(state == head_scanner::state::complete)) return true;
      if (state == head_scanner::state::refused) {
        refused_ = scanner_.why();
        return false;
      }
      if (out_.unsent() > 0 && out_.send(stall())) return false;
      if (!stream_->is_open()) return false;  // a handler has closed it
      stream_->file()->note_unanswered();     // a server that drains waits for the rest
      if (is_first) deadline = std::min(end_of(bounds().header_time), body_deadline_);
      const auto got = in_.read_head(*stream_, deadline);
      if (got) continue;
      if (got.error() == std::errc::timed_out) refused_ = {408, "a head that was not complete in time"};
      return false;
    }
  }
  static time_point end_of(duration limit) {
    return limit == duration::max() ? no_deadline : deadline_after(scheduler::current()->now(), limit);
  }

  // --- answering ---

  afterwards answer(std::uint32_t requests) {
    const std::string_view head = std::string_view(in_.head(), scanner_.size()).substr(scanner_.skipped());
    in_.consume(scanner_.size());
    refused_ = asked_.head_.parse(head, by_->for_heads);
    if (!refused_) refused_ = target::parse(asked_.head_.target(), asked_.target_);
    if (refused_) return refuse_unread();
    const bool is_last = bounds().requests_per_connection != 0 && requests >= bounds().requests_per_connection;
    const bool keep = asked_.head_.keep_alive() && !is_last && !stream_->draining();
    asked_.begin(*stream_);
    answer_.begin(*stream_, asked_.head_, keep, stall());
    if (EVENTER_UNLIKELY(bool(by_->options.access_log))) begin_access();
    by_->routes.table_.match(asked_.method(), asked_.path(), asked_.match_);
    const route* const found = asked_.match_ ? &by_->routes.routes_[asked_.match_.route()] : nullptr;
    const limits& for_body = found != nullptr ? by_->by_route[asked_.match_.route()] : bounds();
    asked_.body_.begin(*stream_, asked_.head_, for_body, body_deadline_);
    if (EVENTER_UNLIKELY(asked_.head_.expects_continue())) asked_.body_.expect_continue();
    answer_.stall_ = for_body.response_stall;
    if (asked_.body_.is_too_large())
      fail(413);
    else
      run(found);
    if (EVENTER_UNLIKELY(answer_.was_upgraded())) return give_away();
    return finish();
  }
  EVENTER_NOINLINE afterwards give_away() {
    const bool is_inherited = answer_.has_heir();
    const bool was_sent = !is_inherited || answer_.send_upgrade_for_heir();
    if (by_->options.access_log) note_access();
    if (!is_inherited) return afterwards::given_away;
    return was_sent ? afterwards::inherited : afterwards::close;
  }
  // Where the request could not be read, nobody knows where the next one begins.
  afterwards refuse_unread() {
    asked_.forget();
    asked_.begin(*stream_);
    answer_.begin(*stream_, asked_.head_, false, stall());
    if (log_enabled(log_level::info))
      log(log_level::info, "http: %s: %d for %s", asked_.peer().to_string().c_str(), refused_.status, refused_.why);
    fail(refused_.status);
    return finish();
  }
  // The handler has returned.
  afterwards finish() {
    body_reader& body = asked_.body_;
    if (EVENTER_UNLIKELY(!body.ended() && !body.can_be_discarded(discarded_at_most))) answer_.close_connection();
    if (!answer_.ended()) answer_.complete();
    if (EVENTER_UNLIKELY(bool(by_->options.access_log))) note_access();
    if (EVENTER_LIKELY(!answer_.ends_connection())) {
      if (EVENTER_LIKELY(body.ended())) return afterwards::idle;
      if (out_.send(stall())) return afterwards::close;
      return body.discard(discarded_at_most) ? afterwards::idle : afterwards::close_slowly;
    }
    if (answer_.was_cut()) return afterwards::close_slowly;
    if (answer_.failure() || out_.send(stall())) return afterwards::close;
    return body.ended() && !asked_.head_.keep_alive() && !refused_ && has_read_all() ? afterwards::close
                                                                                     : afterwards::close_slowly;
  }
  // Nothing has come behind the last request, from a client that has said that it is the last one.
  bool has_read_all() const noexcept { return in_.empty() && (!stream_->is_open() || stream_->file()->known_empty()); }
  void begin_access() {
    began_ = scheduler::current()->now();
    (void)asked_.peer();  // is kept: the kernel forgets it when the peer resets the connection
  }
  void note_access() {
    try {
      by_->options.access_log({asked_, answer_, scheduler::current()->now() - began_});
    } catch (const cancelled&) {
      throw;
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      report("access log", "has thrown", std::current_exception());
    }
  }

  // --- calling the handler ---

  void run(const route* which) {
    try {
      call(which);
      if (EVENTER_LIKELY(answer_.begun())) return;
      if (const int status = status_for_body()) return fail(status);
      report("handler", "has returned without an answer", nullptr);
      fail(500);
    } catch (const cancelled&) {
      throw;
    } catch (const error& chosen) {
      if (!answer_.head_sent()) return fail(chosen.status(), chosen.what());
      answer_.cut();
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      const int status = status_for_body();
      // That a client has gone is nothing to be reported.
      if (status == 0 && !answer_.failure()) report("handler", "has thrown", std::current_exception());
      if (!answer_.head_sent()) return fail(status != 0 ? status : 500);
      answer_.cut();
    }
  }
  // Of a handler that gave up because of the body; 0 if that is all right.
  int status_for_body() const noexcept {
    const std::error_code failure = asked_.body_.failure();
    if (!failure) return 0;
    if (failure == std::errc::timed_out) return 408;
    const int status = status_of(failure);
    return status != 0 ? status : 400;
  }
  void call(const route* which) {
    const next::chain& around = by_->routes.around_;
    if (around.empty()) return call_route(which);
    struct rest final : handler {
      exchange* self;
      const route* which;
      void call(request&, response&) const override { self->call_route(which); }
    } last;
    last.self = this;
    last.which = which;
    next(around, 0, last, asked_, answer_)();
  }
  void call_route(const route* which) {
    if (which == nullptr) return not_served();
    if (!which->admits(asked_)) return fail(403);
    struct watched {
      client_watch& watch;
      ~watched() { watch.end(); }
    } const until_its_end{watch_};
    if (which->watches_client_ && asked_.body_.ended() && !asked_.head_.wants_upgrade()) watch_.begin(*stream_);
    if (EVENTER_LIKELY(which->around_.empty())) return which->handler_->call(asked_, answer_);
    next(which->around_, 0, *which->handler_, asked_, answer_)();
  }
  void not_served() {
    switch (asked_.match_.what()) {
      case route_match::status::options:
        answer_.status(204).header("Allow", asked_.match_.allow());
        return;
      case route_match::status::method_not_allowed:
        answer_.header("Allow", asked_.match_.allow());
        return fail(405);
      default:
        return fail(404);
    }
  }
  // The server's own answer. What a handler has prepared is forgotten, but for the fields of a refusal.
  void fail(int status, std::string_view text = {}) {
    if (status != 405) answer_.start_again();
    answer_.status(status);
    if (!text.empty()) return answer_.text(text);
    if (by_->options.error_page && made_error_page(status)) return;
    answer_.text(std::to_string(status).append(1, ' ').append(reason_phrase(status)).append(1, '\n'));
  }
  // False: it could not be made, and the server's own text does.
  EVENTER_NOINLINE bool made_error_page(int status) {
    const std::string allow(answer_.header("Allow"));
    try {
      by_->options.error_page(asked_, answer_, status);
      if (!answer_.head_sent()) answer_.status(status);
      return true;
    } catch (const cancelled&) {
      throw;
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      report("error page", "has thrown", std::current_exception());
      if (answer_.head_sent()) {
        answer_.cut();
        return true;
      }
      answer_.start_again();
      answer_.status(status);
      if (!allow.empty()) answer_.header("Allow", allow);
      return false;
    }
  }
  void report(const char* who, const char* what, const std::exception_ptr& failure) {
    log(log_level::error, "http: the %s of %.*s %s %s%s", who, static_cast<int>(asked_.method().size()),
        asked_.method().data(), eventer::detail::quoted(asked_.target()).c_str(), what,
        failure != nullptr ? eventer::detail::text_of(failure).c_str() : "");
  }

  static constexpr std::size_t discarded_at_most = 64 << 10;  // of a body that nobody reads

  const service* by_ = nullptr;
  any_stream* stream_ = nullptr;
  input in_;
  output out_;
  head_scanner scanner_;
  refusal refused_;
  time_point began_{};
  time_point body_deadline_ = no_deadline;  // of limits::request_time
  request asked_;
  response answer_;
  client_watch watch_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
