// Programs in C over a kernel that refuses: each system call in turn, with each errno. What is promised: a call of the
// C interface answers -1 with that errno or goes on as if nothing had happened, nobody waits for ever, and no event and
// no descriptor is left behind.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "../captured_log.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "eventer/base/unique_fd.hpp"
#include "loops.hpp"

namespace {

using call = one_fault::call;
using compat_test::end;
using compat_test::run_coroutine;

const std::string question(3000, '?'), answer(5000, '!');

timeval five_seconds() { return {5, 0}; }

// A server and a client on one loop. On the heap: all three coroutines use it.
struct conversation {
  sockaddr_in address{};
  std::string said, heard;
  std::string failure;  // the first call that has failed, and with what
  int running = 0;

  void fail(const char* what) {
    if (failure.empty()) failure = std::string(what) + ": " + std::strerror(errno);
  }
  bool read_all(eventer_aco_t e, std::string& into, std::size_t size) {
    char bytes[512];
    while (into.size() < size) {
      timeval limit = five_seconds();
      const int got = eventer_aco_read(e, bytes, sizeof bytes, &limit);
      if (got < 0) fail("read");
      if (got == 0 && failure.empty()) failure = "an early end";
      if (got <= 0) return false;
      into.append(bytes, static_cast<std::size_t>(got));
    }
    return true;
  }
  bool write_all(eventer_aco_t e, const std::string& bytes) {
    timeval limit = five_seconds();
    const bool done = eventer_aco_write_all(e, bytes.data(), bytes.size(), &limit) >= 0;
    if (!done) fail("write");
    return done;
  }
  void dial() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const eventer_aco_t e = eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, fd, EVENTER_READ));
    timeval limit = five_seconds();
    if (eventer_aco_connect(e, reinterpret_cast<sockaddr*>(&address), sizeof address, &limit) != 0) {
      fail("connect");
      const eventer::unique_fd in_its_place(
          ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));  // whom the server awaits
      (void)::connect(in_its_place.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    } else if (write_all(e, question)) {
      (void)read_all(e, heard, answer.size());
    }
    end(e);
    --running;
  }
  void serve(eventer_aco_t acceptor) {
    timeval limit = five_seconds();
    const int fd = eventer_aco_accept(acceptor, nullptr, nullptr, &limit);
    if (fd < 0) return fail("accept");
    const eventer_aco_t e = eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, fd, EVENTER_READ));
    if (read_all(e, said, question.size())) (void)write_all(e, answer);
    end(e);
  }
};

// In a coroutine. Returns "ok" or what has failed first.
std::string talk() {
  const auto all = std::make_unique<conversation>();
  const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  all->address.sin_family = AF_INET;
  all->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof all->address;
  auto* const address = reinterpret_cast<sockaddr*>(&all->address);
  if (::bind(listening, address, size) != 0 || ::listen(listening, 8) != 0 ||
      ::getsockname(listening, address, &size) != 0)
    return "no listening socket";
  const eventer_aco_t acceptor = eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, listening, EVENTER_READ));
  ++all->running;
  eventer_aco_start([] { static_cast<conversation*>(eventer_aco_arg())->dial(); }, all.get());
  all->serve(acceptor);
  end(acceptor);  // who has not been accepted is reset
  while (all->running > 0) {
    timeval pause{0, 200};
    eventer_aco_sleep(&pause);
  }
  if (!all->failure.empty()) return all->failure;
  return all->said == question && all->heard == answer ? "ok" : "other bytes than were sent";
}

// A classic event reads what a descriptor has, until its end.
struct reader {
  std::string heard;
  bool has_ended = false;
  int number = 0;
};
int read_some(eventer_t e, int mask, void* closure, timeval*) {
  auto& mine = *static_cast<reader*>(closure);
  char bytes[512];
  int got = 0;
  if ((mask & EVENTER_EXCEPTION) == 0)
    while ((got = eventer_read(e, bytes, sizeof bytes, &mask)) > 0)
      mine.heard.append(bytes, static_cast<std::size_t>(got));
  if (got < 0 && errno == EAGAIN) return mask | EVENTER_EXCEPTION;
  mine.number = got < 0 ? errno : 0;
  mine.has_ended = true;
  eventer_close(e, &mask);
  return 0;
}
std::string listen_to_a_pair() {
  const auto mine = std::make_unique<reader>();
  compat_test::socket_pair pair;
  eventer_add(eventer_alloc_fd(&read_some, mine.get(), pair.give(0), EVENTER_READ | EVENTER_EXCEPTION));
  const ssize_t wrote = ::send(pair.ends[1], question.data(), question.size(), MSG_NOSIGNAL);
  timeval pause{0, 200};
  eventer_aco_sleep(&pause);
  ::close(pair.give(1));
  for (int i = 0; i < 25'000 && !mine->has_ended; ++i) eventer_aco_sleep(&pause);
  if (!mine->has_ended) return "the event never ended";
  if (mine->number != 0) return std::string("read: ") + std::strerror(mine->number);
  return wrote == static_cast<ssize_t>(question.size()) && mine->heard == question ? "ok" : "an early end";
}

constexpr int errors[] = {EINTR, EAGAIN, EMFILE, ENOMEM, ECONNRESET, EPIPE, EPERM};
constexpr call calls[] = {call::accept4,  call::close, call::connect,    call::epoll_ctl,
                          call::fcntl,    call::fstat, call::getsockopt, call::read,
                          call::recv,     call::send,  call::sendmsg,    call::setsockopt,
                          call::shutdown, call::write, call::writev,     call::timerfd_settime};

// What no kernel answers, so that nobody could go on: that a connection was interrupted which was never asked for, and
// that there is nothing to read, or no room, where there is. EPERM of epoll_ctl means a descriptor that can't be waited
// for, and ends a classic program; what is registered already can be changed without memory.
bool is_left_out(call which, int error, int nth, bool classic) {
  if (which == call::connect) return error == EINTR;
  if (which == call::epoll_ctl) return classic && (error == EPERM || nth > 1);
  return (which == call::send || which == call::recv) && error == EAGAIN;
}

// What was refused once is told, or was tried again.
template <class F>
int sweep(bool classic, F body) {
  const captured_log log;
  const auto at_rest = compat_test::at_rest();
  const auto before = open_descriptors();
  int happened = 0;
  for (const call which : calls)
    for (const int error : errors)
      for (int nth = 1; nth < 8 && !is_left_out(which, error, nth, classic); ++nth) {
        CAPTURE(static_cast<int>(which), std::strerror(error), nth);
        std::string how;
        bool was_refused = false;
        run_coroutine([&] {
          const one_fault fault(which, error, nth);
          how = body();
          was_refused = fault.happened();
        });
        if (!was_refused) {
          CHECK(how == "ok");
          break;
        }
        ++happened;
        CAPTURE(how);
        CHECK(how != "other bytes than were sent");
        CHECK(how != "the event never ended");
        CHECK(how.find(std::strerror(ETIME)) == std::string::npos);
        if (error == EINTR || error == EAGAIN)
          CHECK((how == "ok" || which == call::connect || which == call::epoll_ctl || which == call::fcntl));
        REQUIRE(compat_test::allocations_come_to(at_rest));
        REQUIRE(open_descriptors() == before);
      }
  return happened;
}

}  // namespace

TEST_CASE("any system call of a conversation in coroutines may fail once") { CHECK(sweep(false, talk) > 100); }

TEST_CASE("any system call beneath a classic event may fail once") { CHECK(sweep(true, listen_to_a_pair) > 40); }
