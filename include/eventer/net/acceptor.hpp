// basic_acceptor: a listening socket whose accept reads as if it blocked, and that survives what the world does to
// listeners.
#pragma once

#include <fcntl.h>

#include <atomic>
#include <mutex>
#include <string_view>
#include <utility>

#include "eventer/net/connect.hpp"
#include "eventer/net/stream.hpp"

namespace eventer::inline EVENTER_ABI {

struct listen_options {
  int backlog = 4096;       // the kernel cuts it to net.core.somaxconn
  bool reuse_port = false;  // several sockets share the address, and the kernel spreads connections over them
  bool v6_only = false;     // an IPv6 socket refuses IPv4 peers
};

namespace detail {

// One descriptor that is kept for the moment in which there is no other left: in its place a connection can be accepted
// and ended, so that its peer learns it. All listening sockets of the process share it. Where another thread is quicker
// to take the place, the next connection that any of them accepts becomes the reserve.
class descriptor_reserve {
 public:
  static void add_user() noexcept {
    const std::lock_guard lock(mutex_);
    if (users_++ == 0) open_again();
  }
  static void remove_user() noexcept {
    const std::lock_guard lock(mutex_);
    if (--users_ > 0) return;
    missing_.store(false);
    if (fd_ >= 0) syscalls::close(std::exchange(fd_, -1));
  }
  static bool is_missing() noexcept { return EVENTER_UNLIKELY(missing_.load()); }
  // Ends a connection and keeps its descriptor. False: somebody else was first, and it goes on.
  static bool refill(int connection) noexcept {
    const std::lock_guard lock(mutex_);
    if (fd_ >= 0) return false;
    keep(connection);
    return true;
  }
  // Accepts and ends so many. Returns: how many there were.
  static int shed(int socket, int most) noexcept {
    const std::lock_guard lock(mutex_);
    int count = 0;
    for (; count < most && fd_ >= 0; ++count) {
      missing_.store(true);  // first: whoever accepts in its place asks, and waits for what comes of this
      syscalls::close(std::exchange(fd_, -1));
      const int connection = syscalls::accept4(socket, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) break;
      keep(connection);
    }
    if (fd_ < 0) open_again();
    return count;
  }

 private:
  // Closing it first would give its place to whoever is quickest.
  static void keep(int connection) noexcept {
    (void)syscalls::shutdown(connection, SHUT_RDWR);
    fd_ = connection;
    missing_.store(false);
  }
  static void open_again() noexcept {
    fd_ = syscalls::open("/dev/null", O_RDONLY | O_CLOEXEC);
    missing_.store(fd_ < 0);
  }

  static inline constinit std::mutex mutex_;
  static inline constinit int fd_ = -1;
  static inline constinit std::size_t users_ = 0;
  static inline constinit std::atomic<bool> missing_{false};
};

// What a listening socket remembers between two calls of accept. On the heap, beside its descriptor.
class listening {
 public:
  listening() noexcept { descriptor_reserve::add_user(); }
  listening(const listening&) = delete;
  listening& operator=(const listening&) = delete;
  ~listening() { descriptor_reserve::remove_user(); }

  // Connections that were closed unserved for want of descriptors.
  // Any thread.
  std::uint64_t shed() const noexcept { return shed_.load(std::memory_order_relaxed); }
  time_point resume_at() const noexcept { return resume_; }

  // One try; the value is the connection's descriptor, and `peer`, where it is wanted, its other side's address.
  // Connections that ended while they waited, and a lack of descriptors or memory, are dealt with here.
  attempt try_accept(descriptor& socket, endpoint* peer = nullptr) {
    for (unsigned lost = 1;; ++lost) {
      socklen_t size = endpoint::capacity();
      const int fd = syscalls::accept4(socket.fd(), peer != nullptr ? peer->data() : nullptr,
                                       peer != nullptr ? &size : nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (EVENTER_LIKELY(fd >= 0)) {
        if (peer != nullptr) peer->resize(size);
        if (descriptor_reserve::is_missing() && descriptor_reserve::refill(fd)) {
          shed_.fetch_add(1, std::memory_order_relaxed);
          continue;
        }
        if (EVENTER_UNLIKELY(pause_ != duration::zero())) recovered(socket);
        return attempt::done(static_cast<std::size_t>(fd));
      }
      switch (errno) {
        case EAGAIN:
          return wait_or_end(socket);
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM: {
          const std::error_code error = error_from_errno(errno);
          // The first time connections wait in the backlog, while others may end.
          if (pause_ != duration::zero())
            shed_.fetch_add(static_cast<unsigned>(descriptor_reserve::shed(socket.fd(), shed_at_once)),
                            std::memory_order_relaxed);
          return pause(socket, error);
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
          if (EVENTER_UNLIKELY(lost == lost_before_pause)) return pause(socket, error_from_errno(errno));
          break;
        default:  // it does not listen any more, whoever has seen to that
          log(log_level::error, "accept on %s: %s", name_of(socket).c_str(), error_from_errno(errno).message().c_str());
          socket.close();
          return attempt::failed(errc::closed);
      }
    }
  }
  // Nothing can be accepted now: others run, and may give back what is missing. Longer each time, until a connection is
  // accepted.
  attempt pause(const descriptor& socket, std::error_code error) {
    scheduler* const here = scheduler::current();
    const time_point now = here != nullptr ? here->now() : clock::now();
    if (now >= next_report_) {
      log(log_level::error, "accept on %s: %s; pausing (%llu connections were closed unserved so far)",
          name_of(socket).c_str(), error.message().c_str(), static_cast<unsigned long long>(shed()));
      next_report_ = now + quiet_time;
    }
    pause_ = pause_ == duration::zero() ? first_pause : pause_ * 2 < longest_pause ? pause_ * 2 : longest_pause;
    resume_ = now + pause_;
    return attempt::again_at();
  }

 private:
  static constexpr duration first_pause = std::chrono::milliseconds(1);
  static constexpr duration longest_pause = std::chrono::milliseconds(100);
  static constexpr duration quiet_time = std::chrono::seconds(10);  // between two lines about it
  static constexpr int shed_at_once = 64;
  static constexpr unsigned lost_before_pause = 64;

  static std::string name_of(const descriptor& socket) { return endpoint::local_of(socket.fd()).to_string(); }
  void recovered(const descriptor& socket) {
    log(log_level::info, "accept on %s: goes on; %llu connections were closed unserved so far", name_of(socket).c_str(),
        static_cast<unsigned long long>(shed()));
    pause_ = duration::zero();
  }

  duration pause_ = duration::zero();
  time_point resume_ = time_point::min(), next_report_ = time_point::min();
  std::atomic<std::uint64_t> shed_{0};
};

// What the steps that accept share: where the kernel refuses to watch the socket, they pause.
template <class Stream>
struct accepting_step : step_of<Stream> {
  explicit accepting_step(listening* on) noexcept : socket(on) {}
  bool survives(descriptor& on, std::error_code error) {
    if (error.category() != std::system_category()) return false;
    (void)socket->pause(on, error);
    return true;
  }
  time_point resume_at() const noexcept { return socket->resume_at(); }

  listening* socket;
};

template <class Stream>
struct accept_step : accepting_step<Stream> {
  using accepting_step<Stream>::accepting_step;
  attempt try_once(descriptor& on) { return this->socket->try_accept(on); }
  static io_result<Stream> result(std::size_t fd) {
    return Stream::accepted(std::make_unique<descriptor>(static_cast<int>(fd), Stream::origin_of_accepted));
  }
};

}  // namespace detail

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
    auto made = detail::make_stream_socket(where.family());
    if (!made) return made.error();
    const int fd = (*made)->fd();
    const int on = 1, v6_only = options.v6_only ? 1 : 0;
    // So that a restarted server need not wait for its predecessor's connections to be forgotten.
    if (where.family() != AF_UNIX) (void)syscalls::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (where.family() == AF_INET6) (void)syscalls::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    if (options.reuse_port && syscalls::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
      return error_from_errno(errno);
    if (syscalls::bind(fd, where.data(), where.size()) != 0) return error_from_errno(errno);
    if (syscalls::listen(fd, options.backlog) != 0) return error_from_errno(errno);
    return basic_acceptor(std::move(*made));
  }
  // Adopts a listening socket, such as one that was inherited, and sets it non-blocking. Errors: what fcntl answers.
  static io_result<basic_acceptor> from_fd(int fd) {
    if (const std::error_code error = detail::set_non_blocking(fd)) return error;
    return basic_acceptor(std::make_unique<descriptor>(fd, descriptor::origin::adopted));
  }

  // The next connection. Completes: when one has come. Errors: closed, timed_out, canceled, and busy for whoever calls
  // it while another one waits in it. No others: connections that ended while they waited, and a lack of descriptors or
  // memory, are dealt with inside (counted, logged now and then, with a pause in which other coroutines run), so
  // `while (auto c = acceptor.accept())` is a correct server.
  io_result<Stream> accept(time_limit limit = {}) {
    return detail::perform<detail::accept_step<Stream>>(descriptor_, limit, state_.get());
  }
  auto async_accept(time_limit limit = {}) {
    return detail::descriptor_operation<detail::accept_step<Stream>>(descriptor_,
                                                                     detail::accept_step<Stream>(state_.get()), limit);
  }

  // Who waits in accept goes on with `closed`.
  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->close();
  }
  // Gives the listening socket to the caller; -1 if there is none.
  int release() noexcept { return descriptor_ == nullptr ? -1 : descriptor_->release(); }
  bool is_open() const noexcept { return descriptor_ != nullptr && descriptor_->is_open(); }
  int native_handle() const noexcept { return descriptor_ == nullptr ? -1 : descriptor_->fd(); }
  endpoint local() const { return endpoint::local_of(native_handle()); }
  // For the library.
  descriptor* file() const noexcept { return descriptor_.get(); }
  // Connections that were closed unserved for want of descriptors.
  std::uint64_t shed() const noexcept { return state_ == nullptr ? 0 : state_->shed(); }

 private:
  explicit basic_acceptor(std::unique_ptr<descriptor> socket)
      : descriptor_(std::move(socket)), state_(std::make_unique<detail::listening>()) {}

  std::unique_ptr<descriptor> descriptor_;
  std::unique_ptr<detail::listening> state_;
};

}  // namespace eventer::inline EVENTER_ABI
