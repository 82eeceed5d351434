// resolve: the addresses of a host by its name, without blocking the loop.
//
//   auto found = eventer::resolve("example.org", "443", 5s);     // or "https"
//   if (found) auto client = eventer::tcp_stream::connect(*found, 5s);
//
// Names are looked up on a job queue of the resolver's own (see lookup_pool.hpp); numeric addresses need none. The
// one rule: what a thread works on is never the caller's, so a caller may leave at any time.
#pragma once

#include <atomic>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/coro/operation.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/net/lookup_pool.hpp"

namespace eventer::inline EVENTER_ABI {

class resolver;

namespace detail {

// getaddrinfo: /etc/hosts, DNS and whatever else nsswitch.conf names, sorted as RFC 6724 wants it.
class system_names final : public name_source {
 public:
  addresses look_up(const std::string& host, const std::string& service) override {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;  // else every address comes three times
    if (host.find(':') != std::string::npos) hints.ai_flags = AI_NUMERICHOST;
    addrinfo* list = nullptr;
    const int error = ::getaddrinfo(host.c_str(), service.empty() ? nullptr : service.c_str(), &hints, &list);
    if (error != 0) return error_from_getaddrinfo(error);
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
    std::vector<endpoint> found;
    for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
      const endpoint one(each->ai_addr, each->ai_addrlen);
      bool known = false;  // a line that is twice in /etc/hosts
      for (const endpoint& other : found) known = known || other == one;
      if (!known) found.push_back(one);
    }
    return found;
  }
};

template <class F>
concept looks_up_names = std::is_invocable_r_v<addresses, F&, const std::string&, const std::string&>;

template <class F>
class names_from final : public name_source {
 public:
  explicit names_from(F&& function) : function_(std::forward<F>(function)) {}
  addresses look_up(const std::string& host, const std::string& service) override { return function_(host, service); }

 private:
  std::decay_t<F> function_;
};

inline bool is_number(std::string_view text, std::string_view digits = "0123456789") noexcept {
  return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}
// "300.1.1.1", "127.1", "0x7f000001": no name, as its last label is a number (RFC 3696, 2). getaddrinfo would take some
// of these for addresses, which surprises whoever has compared them with a list of forbidden ones.
inline bool ends_in_number(std::string_view host) noexcept {
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::string_view last = host.substr(host.rfind('.') + 1);
  const bool hexadecimal = last.starts_with("0x") || last.starts_with("0X");
  return hexadecimal ? is_number(last.substr(2), "0123456789abcdefABCDEF") : is_number(last);
}

// True: no lookup is needed, because the host is numeric, which is the answer then, or no name: there is none. Takes
// the brackets from "[::1]".
inline bool answer_at_once(std::string_view& host, std::string_view service, std::vector<endpoint>& answer) {
  constexpr std::size_t longest = 254;  // of a DNS name with its last dot
  if (host.size() > longest || service.size() > longest) return true;
  if (host.find('\0') != std::string_view::npos || service.find('\0') != std::string_view::npos) return true;
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool colon = host.find(':') != std::string_view::npos;
  if (host.empty() || (bracketed && !colon)) return true;

  std::uint16_t port = 0;
  if (is_number(service)) {
    const auto [end, error] = std::from_chars(service.data(), service.data() + service.size(), port);
    if (error != std::errc()) return true;
  }
  if (const auto numeric = endpoint::from_host(host, port); numeric) {
    if (!service.empty() && !is_number(service)) return false;
    answer.push_back(*numeric);
    return true;
  }
  // "fe80::1%eth0": the interface's number has to be asked for.
  return colon ? host.find('%') == std::string_view::npos : ends_in_number(host);
}

// resolve() as an operation.
class resolve_operation {
 public:
  using result_type = addresses;

  resolve_operation() noexcept = default;  // none: asks nobody
  resolve_operation(resolver& from, std::string_view host, std::string_view service, time_limit limit)
      : from_(&from), host_(host), service_(service), limit_(limit) {}

  // In the place of the limit that it was made with. Requires: it has not begun.
  void set_limit(time_limit limit) noexcept { limit_ = limit; }
  bool is_none() const noexcept { return from_ == nullptr; }
  void block();
  bool advance(continuation& who);
  result_type result() {
    if (error_) return error_;
    return std::move(found_);
  }

 private:
  bool fail(std::error_code error) noexcept {
    error_ = error;
    return true;
  }
  bool take(const addresses& all) {
    if (!all) return fail(all.error());
    found_ = *all;
    return true;
  }

  resolver* from_ = nullptr;
  std::string host_, service_;
  time_limit limit_;
  std::shared_ptr<lookup> lookup_;
  std::vector<endpoint> found_;
  std::error_code error_;
};

}  // namespace detail

// Looks names up. The process has one, which resolve() and tcp_stream::connect ask; a program that wants other limits
// for some names, or that gets names from somewhere else, makes its own. All members may be called on any thread.
class EVENTER_API resolver {
 public:
  explicit resolver(const resolver_options& options = {})
      : resolver(options, std::shared_ptr<detail::name_source>(std::make_shared<detail::system_names>())) {}
  // Asks `look_up(const std::string& host, const std::string& service)` instead of getaddrinfo: it gives an
  // io_result<std::vector<endpoint>>, is called on several threads at once and may block. It lives until the last
  // thread that is in it has returned.
  template <detail::looks_up_names F>
  resolver(const resolver_options& options, F&& look_up)
      : resolver(options, std::shared_ptr<detail::name_source>(
                              std::make_shared<detail::names_from<F>>(std::forward<F>(look_up)))) {}
  resolver(const resolver&) = delete;
  resolver& operator=(const resolver&) = delete;
  // Does not wait: what is being looked up is answered when it is known, what waits for a thread gets
  // operation_canceled. Requires: no call begins meanwhile.
  ~resolver() {
    detail::lookup_pool* const last = pool_.load();
    if (!last->forked()) let_go(last);
  }

  // The process's own. Never destroyed, as its threads may be in getaddrinfo when the program ends.
  static resolver& shared() {
    if (resolver* const other = replacement_.load(std::memory_order_acquire); other != nullptr) return *other;
    static resolver& instance = *new resolver;
    return instance;
  }
  // Lets resolve() and connect() ask another one from now on, a test's say, which outlives their calls; nullptr: the
  // process's own again.
  static void replace_shared(resolver* with) noexcept { replacement_.store(with, std::memory_order_release); }

  // See eventer::resolve.
  io_result<std::vector<endpoint>> resolve(std::string_view host, std::string_view service, time_limit limit = {}) {
    std::vector<endpoint> known;
    if (detail::answer_at_once(host, service, known)) {
      if (known.empty()) return errc::bad_address;
      return known;
    }
    refuse_callback();
    const auto started = pool().find_or_start(host, service);
    if (!started) return started.error();
    const wake_reason reason = (*started)->wait(limit);
    if (EVENTER_LIKELY(reason == wake_reason::ready)) return (*started)->found();
    detail::throw_if_canceled(reason);
    return reason == wake_reason::timed_out ? errc::timed_out : errc::canceled;
  }
  auto async_resolve(std::string_view host, std::string_view service, time_limit limit = {}) {
    return detail::resolve_operation(*this, host, service, limit);
  }

  resolver_stats stats() { return pool().stats(); }

 private:
  friend class detail::resolve_operation;

  resolver(const resolver_options& options, std::shared_ptr<detail::name_source> source)
      : options_(options), source_(std::move(source)), pool_(make_pool()) {}

  static void refuse_callback() {
    const scheduler* const here = scheduler::current();
    if (here != nullptr && here->running() == nullptr)
      broken_rule(
          "resolve() in a callback would block its loop: spawn a coroutine for it, or co_await async_resolve()");
  }
  // A forked child has none of the threads, and begins with a pool of its own.
  detail::lookup_pool& pool() {
    detail::lookup_pool* present = pool_.load(std::memory_order_acquire);
    if (EVENTER_LIKELY(!present->forked())) return *present;
    detail::lookup_pool* const fresh = make_pool(present);
    if (pool_.compare_exchange_strong(present, fresh, std::memory_order_acq_rel)) return *fresh;
    let_go(fresh);
    return *present;
  }
  // One owner is this object, which an atomic pointer can't count.
  detail::lookup_pool* make_pool(const detail::lookup_pool* before = nullptr) const {
    auto* const made = new detail::lookup_pool(options_, source_, before);
    ++made->owners;
    return made;
  }
  static void let_go(detail::lookup_pool* which) {
    const counted_ptr<detail::lookup_pool> last(which);
    --which->owners;
    which->close();
  }

  const resolver_options options_;
  const std::shared_ptr<detail::name_source> source_;
  std::atomic<detail::lookup_pool*> pool_;
  static inline constinit std::atomic<resolver*> replacement_{nullptr};
};

namespace detail {

inline void resolve_operation::block() { take(from_->resolve(host_, service_, limit_)); }

inline bool resolve_operation::advance(continuation& who) {
  if (lookup_ == nullptr) {
    std::string_view host = host_;
    if (answer_at_once(host, service_, found_)) return !found_.empty() || fail(make_error_code(errc::bad_address));
    auto started = from_->pool().find_or_start(host, service_);
    if (!started) return fail(started.error());
    lookup_ = std::move(*started);
    return lookup_->start_wait(who, limit_) && take(lookup_->found());
  }
  if (who.wake == wake_reason::ready) return take(lookup_->found());
  return fail(make_error_code(who.wake == wake_reason::timed_out ? errc::timed_out : errc::canceled));
}

}  // namespace detail

// The addresses of `host`, best first, each with the port that `service` is: "443", or a name of /etc/services (TCP's);
// empty: port 0. `host` is a name or an IPv4 or IPv6 address; a numeric one with a numeric port is answered at once,
// without a thread.
//
// Completes: when the lookup has ended. Who asks for the same host and service meanwhile gets the same answer. Errors:
// bad_address for what can be neither a name nor an address; those of resolver_category(), such as
// std::errc::no_such_device_or_address for an unknown name, and resource_unavailable_try_again where no name server
// answers, or too many names are being looked up already; timed_out, which leaves the lookup to end by itself, its
// result dropped; canceled (or the exception `cancelled`). On a plain thread it blocks.
inline io_result<std::vector<endpoint>> resolve(std::string_view host, std::string_view service,
                                                time_limit limit = {}) {
  return resolver::shared().resolve(host, service, limit);
}
// As something to await; host and service are copied.
inline auto async_resolve(std::string_view host, std::string_view service, time_limit limit = {}) {
  return resolver::shared().async_resolve(host, service, limit);
}

}  // namespace eventer::inline EVENTER_ABI
