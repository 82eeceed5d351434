// listening_socket: one socket of a listener, opened as its configuration says, and given up without losing a
// connection.
//
// It rests on the acceptor's handling of what the world does to listeners. What must not be broken: a socket is closed
// when its queue is empty and nothing can come into it any more, because closing resets what is queued.
#pragma once

#include <linux/filter.h>
#include <sys/stat.h>

#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "eventer/listener/listener_config.hpp"
#include "eventer/net/acceptor.hpp"
#include "eventer/net/any_stream.hpp"

#if !defined(SO_DETACH_REUSEPORT_BPF)
#define SO_DETACH_REUSEPORT_BPF 68
#endif

namespace eventer::inline EVENTER_ABI::detail {

struct accept_any_step : accepting_step<any_stream> {
  accept_any_step(listening* on, endpoint* who) noexcept : accepting_step(on), peer(who) {}
  attempt try_once(descriptor& on) { return socket->try_accept(on, peer); }
  // Streams of both families are any_streams: which one it is, is asked where it makes a difference.
  io_result<any_stream> result(std::size_t fd) const {
    const auto from = peer->family() == AF_UNIX ? descriptor::origin::made_here_local : descriptor::origin::made_here;
    return any_stream::over(std::make_unique<descriptor>(static_cast<int>(fd), from));
  }

  endpoint* peer;
};

// On the heap. But for opening, it is used on the loop that accepts.
class listening_socket {
 public:
  // Opens `where` and listens. `among`: the socket is one of several, of which another one listens already (admit it
  // there first). Errors: of the call that fails; address_in_use also for a unix path on which somebody listens.
  static io_result<std::unique_ptr<listening_socket>> open(const endpoint& where, const listener_config& config,
                                                           bool among = false) {
    auto made = make_stream_socket(where.family());
    if (!made) return made.error();
    auto result = std::make_unique<listening_socket>(std::move(*made));
    if (const std::error_code error = result->bind_and_listen(where, config, among)) return error;
    result->local_ = endpoint::local_of(result->fd());
    return result;
  }
  // A duplicate of a socket that listens and stays somebody else's.
  static io_result<std::unique_ptr<listening_socket>> duplicate(int fd) {
    const int copy = syscalls::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return error_from_errno(errno);
    auto result = std::make_unique<listening_socket>(std::make_unique<descriptor>(copy, descriptor::origin::adopted));
    if (const std::error_code error = set_non_blocking(copy)) return error;
    result->local_ = endpoint::local_of(copy);
    result->borrowed_ = true;
    return result;
  }

  explicit listening_socket(std::unique_ptr<descriptor> file) : file_(std::move(file)) {}
  listening_socket(const listening_socket&) = delete;
  listening_socket& operator=(const listening_socket&) = delete;
  ~listening_socket() { remove_file(); }

  int fd() const noexcept { return file_->fd(); }
  const endpoint& local() const noexcept { return local_; }
  bool is_unix() const noexcept { return local_.family() == AF_UNIX; }
  // Any thread: connections that were closed unserved for want of descriptors.
  std::uint64_t shed() const noexcept { return state_.shed(); }

  // The next connection and its peer's address. Errors: closed; end_of_stream when it was told to end and its queue is
  // empty. See basic_acceptor::accept.
  io_result<any_stream> accept(endpoint& peer) { return perform<accept_any_step>(file_, {}, &state_, &peer); }

  // What of a changed configuration takes effect for connections that come from now on. Any thread.
  void apply(const listener_config& config) noexcept {
    if (borrowed_) return;
    (void)syscalls::listen(fd(), config.backlog);
    if (!is_unix()) return (void)apply_tcp(config.tcp);
    if (!path_.empty() && config.unix_mode != 0) (void)syscalls::chmod(path_.c_str(), config.unix_mode);
  }

  // --- one of several sockets with one address ---

  // Others may listen on the same address from now on. (It is allowed only now, because with it the kernel would let
  // this program be started twice without a word.)
  std::error_code admit_others() noexcept {
    const int on = 1;
    return syscalls::setsockopt(fd(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ? error_from_errno(errno)
                                                                                     : std::error_code();
  }
  // Connections that begin from now on come to this one alone, the first that listened; or are spread again.
  std::error_code take_all(bool all) noexcept {
    sock_filter first[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    const sock_fprog program{1, first};
    const int none = 0;
    const int failed = all ? syscalls::setsockopt(fd(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program)
                           : syscalls::setsockopt(fd(), SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof none);
    return failed != 0 ? error_from_errno(errno) : std::error_code();
  }

  // --- giving it up: refuse_new(), a moment later end_when_empty(); accept then gives what is queued, and
  // end_of_stream ---

  // Nothing new comes into the queue. A unix socket's file goes, and who connects is refused. A TCP socket ignores
  // handshakes that begin, while those that have begun are completed: who connects in that moment tries again by
  // itself, and is refused then. A socket that somebody else holds stays as it is, for whoever accepts on it next.
  // Returns: how long what has begun may take.
  duration refuse_new() noexcept {
    if (borrowed_) return duration::zero();
    remove_file();
    if (is_unix()) {
      (void)syscalls::shutdown(fd(), SHUT_RD);
      return duration::zero();
    }
    // The flags of the TCP header: SYN without ACK.
    sock_filter ignore_syn[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 13},
                                {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0x12},
                                {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0x02},
                                {BPF_RET | BPF_K, 0, 0, 0},
                                {BPF_RET | BPF_K, 0, 0, 0xffffffff}};
    const sock_fprog program{static_cast<unsigned short>(std::size(ignore_syn)), ignore_syn};
    if (syscalls::setsockopt(fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
      return duration::zero();
    return handshake_time;
  }
  static constexpr duration handshake_time =
      std::chrono::milliseconds(250);  // a round trip to the far side of the earth
  // On its loop.
  void end_when_empty() { file_->end_when_idle(); }
  // On its loop: at once, whatever is queued.
  void close() noexcept {
    remove_file();
    file_->close();
  }

 private:
  std::error_code bind_and_listen(const endpoint& where, const listener_config& config, bool among) {
    const int on = 1, v6_only = config.v6_only ? 1 : 0;
    if (where.family() != AF_UNIX) {
      // So that a restarted server need not wait for its predecessor's connections to be forgotten.
      (void)syscalls::setsockopt(fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (where.family() == AF_INET6)
        (void)syscalls::setsockopt(fd(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
      if (among)
        if (const std::error_code error = admit_others()) return error;
      if (const std::error_code error = apply_tcp(config.tcp)) return error;
    }
    if (const std::error_code error = bind(where)) return error;
    // Before it listens nobody can connect, so that no one slips in with the permissions of the umask.
    if (!path_.empty() && config.unix_mode != 0 && syscalls::chmod(path_.c_str(), config.unix_mode) != 0)
      return error_from_errno(errno);
    return syscalls::listen(fd(), config.backlog) != 0 ? error_from_errno(errno) : std::error_code();
  }
  std::error_code bind(const endpoint& where) {
    const auto try_it = [&] {
      return syscalls::bind(fd(), where.data(), where.size()) != 0 ? error_from_errno(errno) : std::error_code();
    };
    std::error_code error = try_it();
    const bool has_file = where.family() == AF_UNIX && where.path().front() != '@';
    if (has_file && error == std::errc::address_in_use && remove_stale(where)) error = try_it();
    if (error || !has_file) return error;
    struct stat made {};
    if (syscalls::lstat(where.path().c_str(), &made) != 0) {
      error = error_from_errno(errno);
      (void)syscalls::unlink(where.path().c_str());
      return error;
    }
    path_ = where.path();
    device_ = made.st_dev;
    inode_ = made.st_ino;
    return {};
  }
  // Whether the file was a socket on which nobody listens any more, left by a process that has died. It is gone then.
  static bool remove_stale(const endpoint& where) {
    const std::string path = where.path();
    struct stat before {
    }, after{};
    if (syscalls::lstat(path.c_str(), &before) != 0 || !S_ISSOCK(before.st_mode)) return false;
    const unique_fd probe(syscalls::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!probe || syscalls::connect(probe.get(), where.data(), where.size()) == 0 || errno != ECONNREFUSED)
      return false;
    if (syscalls::lstat(path.c_str(), &after) != 0 || after.st_ino != before.st_ino) return false;
    return syscalls::unlink(path.c_str()) == 0;
  }
  // If it is still ours: somebody may have put another one in its place.
  void remove_file() noexcept {
    struct stat there {};
    if (!path_.empty() && syscalls::lstat(path_.c_str(), &there) == 0 && there.st_dev == device_ &&
        there.st_ino == inode_)
      (void)syscalls::unlink(path_.c_str());
    path_.clear();
  }

  // Accepted sockets inherit them, which saves calls for each connection.
  std::error_code apply_tcp(const tcp_options& options) noexcept {
    const auto seconds = [](duration time) {
      const auto whole = std::chrono::ceil<std::chrono::seconds>(time).count();
      return static_cast<int>(whole < 1 ? 1 : whole > max_seconds ? max_seconds : whole);
    };
    std::error_code first;
    const auto set = [&](int level, int name, int value) {
      if (syscalls::setsockopt(fd(), level, name, &value, sizeof value) != 0 && !first) first = error_from_errno(errno);
    };
    set(IPPROTO_TCP, TCP_NODELAY, options.no_delay ? 1 : 0);
    const bool probes = options.keep_alive > duration::zero();
    set(SOL_SOCKET, SO_KEEPALIVE, probes ? 1 : 0);
    if (probes) {
      set(IPPROTO_TCP, TCP_KEEPIDLE, seconds(options.keep_alive));
      set(IPPROTO_TCP, TCP_KEEPINTVL, seconds(options.keep_alive / 4));
    }
    const auto timeout = std::chrono::ceil<std::chrono::milliseconds>(options.user_timeout).count();
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(timeout > max_milliseconds ? max_milliseconds : timeout));
    set(IPPROTO_TCP, TCP_DEFER_ACCEPT, options.defer_accept > duration::zero() ? seconds(options.defer_accept) : 0);
    if (options.send_buffer > 0) set(SOL_SOCKET, SO_SNDBUF, options.send_buffer);
    if (options.receive_buffer > 0) set(SOL_SOCKET, SO_RCVBUF, options.receive_buffer);
    return first;
  }
  static constexpr std::chrono::seconds::rep max_seconds = 32767;  // the kernel takes no more
  static constexpr std::chrono::milliseconds::rep max_milliseconds = 1 << 30;

  std::unique_ptr<descriptor> file_;
  listening state_;
  endpoint local_;
  std::string path_;  // of the file that it has made; empty: none
  dev_t device_ = 0;
  ino_t inode_ = 0;
  bool borrowed_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::detail
