// basic_acceptor: a listening socket whose accept reads as if it blocked, and that survives what the world does to
// listeners.
#pragma once

#include <fcntl.h>

#include <string_view>

#include "eventer/net/stream.hpp"

namespace eventer::inline EVENTER_ABI {

struct listen_options {
  int backlog = 4096;       // the kernel cuts it to net.core.somaxconn
  bool reuse_port = false;  // several sockets share the address, and the kernel spreads connections over them
  bool v6_only = false;     // an IPv6 socket refuses IPv4 peers
};

template <class Stream>
class basic_acceptor {
 public:
  basic_acceptor() noexcept = default;  // not listening: accept answers `closed`
  basic_acceptor(basic_acceptor&&) noexcept = default;
  basic_acceptor& operator=(basic_acceptor&&) noexcept = default;

  // Listens. Port 0 lets the kernel choose: ask local(). Errors: bad_address, address_in_use, permission_denied, ...
  static io_result<basic_acceptor> listen(std::string_view address, const listen_options& options = {}) {
    const auto where = endpoint::parse(address);
    if (!where) return where.error();
    return listen(*where, options);
  }
  static io_result<basic_acceptor> listen(const endpoint& where, const listen_options& options = {}) {
    if (!Stream::speaks(where.family())) return errc::bad_address;
    unique_fd fd(system::socket(where.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return error_from_errno(errno);
    const int on = 1, v6_only = options.v6_only ? 1 : 0;
    // So that a restarted server need not wait for its predecessor's connections to be forgotten.
    if (where.family() != AF_UNIX) (void)system::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (where.family() == AF_INET6)
      (void)system::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    if (options.reuse_port && system::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
      return error_from_errno(errno);
    if (system::bind(fd.get(), where.data(), where.size()) != 0) return error_from_errno(errno);
    if (system::listen(fd.get(), options.backlog) != 0) return error_from_errno(errno);
    basic_acceptor result;
    result.descriptor_ = std::make_unique<descriptor>(fd.release(), descriptor::origin::made_here);
    result.open_reserve();
    return result;
  }

  // The next connection. Completes: when one has come. Errors: closed, timed_out, canceled and no others: connections
  // that ended while they waited, and a lack of descriptors or memory, are dealt with inside (counted, logged now and
  // then, with a pause in which other coroutines run), so `while (auto c = acceptor.accept())` is a correct server.
  io_result<Stream> accept() { return accept_until(no_deadline); }
  io_result<Stream> accept(duration limit) { return accept_until(deadline_after(clock::now(), limit)); }

  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->close();
  }
  bool is_open() const noexcept { return descriptor_ != nullptr && descriptor_->is_open(); }
  int native_handle() const noexcept { return descriptor_ == nullptr ? -1 : descriptor_->fd(); }
  endpoint local() const { return endpoint::local_of(native_handle()); }
  // Connections that were closed unserved for want of descriptors.
  std::uint64_t shed() const noexcept { return shed_; }

 private:
  static constexpr duration first_pause = std::chrono::milliseconds(1);
  static constexpr duration longest_pause = std::chrono::milliseconds(100);
  static constexpr duration quiet_time = std::chrono::seconds(10);  // between two lines about it
  static constexpr int shed_at_once = 64;
  static constexpr unsigned lost_before_pause = 64;

  io_result<Stream> accept_until(time_point deadline) {
    for (unsigned lost = 1;; ++lost) {
      if (EVENTER_UNLIKELY(detail::turn_is_over()))
        if (const std::error_code error = detail::let_others_run()) return error;
      if (EVENTER_UNLIKELY(descriptor_ == nullptr || !descriptor_->is_usable())) return errc::closed;
      const int fd = system::accept4(descriptor_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (EVENTER_LIKELY(fd >= 0)) {
        if (EVENTER_UNLIKELY(pause_ != duration::zero())) recovered();
        Stream accepted(std::make_unique<descriptor>(fd, descriptor::origin::made_here));
        accepted.prepare_accepted();
        return accepted;
      }
      switch (errno) {
        case EAGAIN: {
          const std::error_code error = descriptor_->wait_readable(deadline);
          if (EVENTER_LIKELY(!error)) break;
          // The kernel refuses to watch one more descriptor.
          if (error.category() != std::system_category()) return error;
          if (const std::error_code end = pause(error, deadline)) return end;
          break;
        }
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM: {
          const std::error_code error = error_from_errno(errno);
          // The first time connections wait in the backlog, while others may end.
          if (pause_ != duration::zero()) shed_some();
          if (const std::error_code end = pause(error, deadline)) return end;
          break;
        }
        // The connection ended, or its network did, before it was taken; Linux passes such errors of the new socket on.
        case ECONNABORTED:
        case EPROTO:
        case EPERM:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case EOPNOTSUPP:
        case ENETUNREACH:
          // Many in a row: perhaps a filter refuses them all.
          if (EVENTER_UNLIKELY(lost % lost_before_pause == 0))
            if (const std::error_code end = pause(error_from_errno(errno), deadline)) return end;
          break;
        default:  // it does not listen any more, whoever has seen to that
          log(log_level::error, "accept on %s: %s", local().to_string().c_str(),
              error_from_errno(errno).message().c_str());
          close();
          return errc::closed;
      }
    }
  }

  // Nothing can be accepted now: others run, and may give back what is missing. Longer each time, until a connection is
  // accepted.
  std::error_code pause(std::error_code error, time_point deadline) {
    const time_point now = clock::now();
    if (now >= next_report_) {
      log(log_level::error, "accept on %s: %s; pausing (%llu connections were closed unserved so far)",
          local().to_string().c_str(), error.message().c_str(), static_cast<unsigned long long>(shed_));
      next_report_ = now + quiet_time;
    }
    pause_ = pause_ == duration::zero() ? first_pause : pause_ * 2 < longest_pause ? pause_ * 2 : longest_pause;
    const time_point end = now + pause_;
    sleep_until(end < deadline ? end : deadline);
    return end < deadline ? std::error_code() : make_error_code(errc::timed_out);
  }
  void open_reserve() noexcept { reserve_.reset(system::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
  // Accepts some in the reserve descriptor's place and closes them, so that their peers learn it.
  void shed_some() {
    for (int i = 0; i < shed_at_once; ++i) {
      reserve_.reset();
      const unique_fd refused(system::accept4(descriptor_->fd(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!refused) break;
      ++shed_;
    }
    open_reserve();
  }
  void recovered() {
    log(log_level::info, "accept on %s: goes on; %llu connections were closed unserved so far",
        local().to_string().c_str(), static_cast<unsigned long long>(shed_));
    pause_ = duration::zero();
  }

  std::unique_ptr<descriptor> descriptor_;
  unique_fd reserve_;
  duration pause_ = duration::zero();
  time_point next_report_ = time_point::min();
  std::uint64_t shed_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
