// Events of the C interface: whose references are whose, who is called, and on which thread.
#include "loops.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "eventer/base/config.hpp"

using compat_test::notice;
using compat_test::run_callback;
using compat_test::run_coroutine;
using compat_test::socket_pair;

namespace {

struct counted {
  notice called;
  std::atomic<int> calls{0};
  std::atomic<int> last_mask{0};
  std::atomic<int> answer{0};
  std::atomic<pthread_t> thread{};
};
int count(eventer_t, int mask, void* closure, timeval*) {
  auto& mine = *static_cast<counted*>(closure);
  mine.thread = ::pthread_self();
  mine.last_mask = mask;
  ++mine.calls;
  const int answer = mine.answer;
  mine.called.give();
  return answer;
}

template <class F>
void refused(const F& function, const char* sentence) {
  const child_result child = run_in_child(function);
  CHECK(child.signal == SIGABRT);
  INFO(child.output);
  CHECK(contains(child.output, sentence));
}

std::string text_of(int fd) {
  char bytes[256];
  const ssize_t got = ::read(fd, bytes, sizeof bytes);
  return got > 0 ? std::string(bytes, static_cast<std::size_t>(got)) : std::string();
}

}  // namespace

TEST_CASE("an event with a descriptor is called when it is ready, and goes when its callback answers 0") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  struct talk {
    notice done;
    std::string heard;
    std::atomic<std::size_t> length{0};  // of what was heard before nothing was left
    int eagain_mask = 0;
    void wait_for(std::size_t wanted) const {
      while (length < wanted) ::usleep(100);
    }
  } heard;
  const eventer_t e = eventer_alloc_fd(
      [](eventer_t self, int mask, void* closure, timeval* now) {
        auto& mine = *static_cast<talk*>(closure);
        if (mask != EVENTER_READ || now->tv_sec == 0 || eventer_get_this_event() != self) return 0;
        char bytes[16];
        int wanted = 0;
        for (;;) {
          const int got = eventer_read(self, bytes, sizeof bytes, &wanted);
          if (got > 0) {
            mine.heard.append(bytes, static_cast<std::size_t>(got));
            continue;
          }
          if (got < 0 && errno == EAGAIN) {
            mine.eagain_mask = wanted;
            mine.length = mine.heard.size();
            return wanted;
          }
          break;
        }
        int mask_of_close = 7;
        eventer_remove_fde(self);
        eventer_close(self, &mask_of_close);
        mine.heard += mask_of_close == 0 ? ", closed" : "";
        mine.done.give();
        return 0;
      },
      &heard, pair.give(0), EVENTER_READ);
  CHECK(eventer_get_mask(e) == EVENTER_READ);
  CHECK(eventer_find_fd(eventer_get_fd(e)) == nullptr);
  eventer_add(e);
  REQUIRE(::write(pair.ends[1], "one", 3) == 3);
  heard.wait_for(3);
  REQUIRE(::write(pair.ends[1], "two", 3) == 3);
  heard.wait_for(6);
  REQUIRE(::shutdown(pair.ends[1], SHUT_WR) == 0);
  heard.done.wait();
  CHECK(heard.heard == "onetwo, closed");
  CHECK(heard.eagain_mask == (EVENTER_READ | EVENTER_EXCEPTION));
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("removing hands the reference back, on any thread; who was removed is not called any more") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  for (const int loop : {0, 1}) {
    counted calls;
    calls.answer = EVENTER_READ;
    const eventer_t e = eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_READ);
    eventer_set_owner(e, eventer_choose_owner(loop));
    CHECK(eventer_thread_check(e) == 0);
    eventer_add(e);
    CHECK(eventer_find_fd(pair.ends[0]) == e);
    REQUIRE(::write(pair.ends[1], "x", 1) == 1);
    calls.called.wait();
    CHECK(::pthread_equal(calls.thread, eventer_choose_owner(loop)) != 0);
    CHECK(eventer_remove(e) == e);
    CHECK(eventer_remove(e) == nullptr);
    CHECK(eventer_find_fd(pair.ends[0]) == nullptr);
    CHECK(eventer_remove_fd(pair.ends[0]) == nullptr);
    run_callback([] {}, loop);  // what was under way has ended
    const int called = calls.calls;
    run_callback([] {}, loop);
    CHECK(calls.calls == called);
    text_of(pair.ends[0]);
    CHECK(eventer_free(e) == mtev_true);
  }
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("references: only the last one frees") {
  compat_test::start();
  const auto before = compat_test::at_rest(), ever = eventer_allocations_total();
  const eventer_t e = eventer_alloc();
  CHECK(eventer_allocations_current() == before + 1);
  CHECK(eventer_allocations_total() == ever + 1);
  eventer_ref(e);
  CHECK(eventer_deref(e) == mtev_false);
  CHECK(eventer_free(e) == mtev_true);
  CHECK(eventer_allocations_current() == before);
}

TEST_CASE("an event that is freed twice, or while it is added, ends the program with a sentence") {
  compat_test::start();
  const auto freed_twice = [] {
    const eventer_t e = eventer_alloc();
    eventer_free(e);
    eventer_free(e);
  };
  const auto freed_while_added = [] {
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) return;
    const eventer_t e = eventer_alloc_fd(&count, nullptr, pipe_ends[0], EVENTER_READ);
    eventer_add(e);
    eventer_free(e);
  };
  if (EVENTER_ASAN)
    EVENTER_SKIP("AddressSanitizer reports the first one itself");
  else
    refused(freed_twice, "each reference is dropped once");
  refused(freed_while_added, "eventer_remove() hands its reference back");
}

TEST_CASE("a copy has the descriptor, the callback and the owner of its original, and a reference of its own") {
  compat_test::start();
  counted calls;
  const eventer_t e = eventer_alloc_fd(&count, &calls, 5, EVENTER_WRITE);
  eventer_set_owner(e, eventer_choose_owner(1));
  const eventer_t copy = eventer_alloc_copy(e);
  CHECK(eventer_free(e) == mtev_true);
  CHECK(eventer_get_fd(copy) == 5);
  CHECK(eventer_get_mask(copy) == EVENTER_WRITE);
  CHECK(eventer_get_callback(copy) == &count);
  CHECK(eventer_get_closure(copy) == &calls);
  CHECK(::pthread_equal(eventer_get_owner(copy), eventer_choose_owner(1)) != 0);
  CHECK(eventer_free(copy) == mtev_true);
}

TEST_CASE("closing twice is an error of its own, and the peer sees the end at once") {
  compat_test::start();
  socket_pair pair;
  const eventer_t e = eventer_alloc_fd(&count, nullptr, pair.give(0), EVENTER_READ);
  int mask = 9;
  CHECK(eventer_close(e, &mask) == 0);
  CHECK(mask == 0);
  CHECK(eventer_get_fd(e) == -1);
  run_callback([] {});
  char byte;
  CHECK(::recv(pair.ends[1], &byte, 1, 0) == 0);
  errno = 0;
  CHECK(eventer_close(e, &mask) == -1);
  CHECK(errno == EBADFD);
  eventer_free(e);
}

TEST_CASE("a callback may close without removing, and the number is anybody's again") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  notice done;
  const int fd = pair.give(0);
  const eventer_t e = eventer_alloc_fd(
      [](eventer_t self, int, void* closure, timeval*) {
        int mask;
        eventer_close(self, &mask);
        static_cast<notice*>(closure)->give();
        return mask;
      },
      &done, fd, EVENTER_WRITE);
  eventer_add(e);
  done.wait();
  CHECK(compat_test::allocations_come_to(before));
  CHECK(eventer_find_fd(fd) == nullptr);
}

TEST_CASE("trigger: the callback runs on the owner with that mask, and what it answers is registered") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  counted calls;
  calls.answer = EVENTER_READ;
  const eventer_t e = eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_READ);
  eventer_set_owner(e, eventer_choose_owner(1));
  eventer_trigger(e, EVENTER_WRITE);  // which hands it over
  calls.called.wait();
  CHECK(calls.last_mask == EVENTER_WRITE);
  CHECK(::pthread_equal(calls.thread, eventer_choose_owner(1)) != 0);
  run_callback([] {}, 1);
  CHECK(eventer_find_fd(pair.ends[0]) == e);
  calls.answer = 0;
  REQUIRE(::write(pair.ends[1], "x", 1) == 1);
  calls.called.wait();
  CHECK(calls.last_mask == EVENTER_READ);
  CHECK(compat_test::allocations_come_to(before));
  CHECK(eventer_find_fd(pair.ends[0]) == nullptr);

  // One that another event stands in the way of is not called.
  calls.answer = EVENTER_READ;
  text_of(pair.ends[0]);
  const eventer_t first = eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_READ);
  eventer_add(first);
  counted never;
  const eventer_t second = eventer_alloc_fd(&count, &never, pair.ends[0], EVENTER_READ);
  eventer_trigger(second, EVENTER_READ);
  run_callback([] {});
  CHECK(never.calls == 0);
  eventer_free(eventer_remove(first));
  eventer_free(second);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("a callback that gives its event to another loop is called there from then on") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  counted calls;
  const eventer_t e = eventer_alloc_fd(
      [](eventer_t self, int mask, void* closure, timeval* now) {
        const int answer = count(self, mask, closure, now);
        char byte;
        int wanted;
        while (eventer_read(self, &byte, 1, &wanted) > 0) continue;
        eventer_set_owner(self, eventer_choose_owner(::pthread_equal(::pthread_self(), eventer_choose_owner(0)) != 0));
        return answer;
      },
      &calls, pair.ends[0], EVENTER_READ);
  calls.answer = EVENTER_READ;
  eventer_add(e);
  for (int i = 0; i < 20; ++i) {
    REQUIRE(::write(pair.ends[1], "x", 1) == 1);
    calls.called.wait();
    CHECK(::pthread_equal(calls.thread, eventer_choose_owner(i % 2)) != 0);
    run_callback([] {}, i % 2);
  }
  eventer_free(eventer_remove(e));
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("a trigger that finds its event ended, or on another loop, is not a call of what is gone") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  counted calls;  // answers 0
  const eventer_t e = eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_READ);
  eventer_set_owner(e, eventer_choose_owner(1));
  eventer_add(e);
  eventer_ref(e);
  notice held, may_go;
  std::thread holds([&] {
    run_callback(
        [&] {
          held.give();
          may_go.wait();
        },
        1);
  });
  held.wait();
  eventer_trigger(e, EVENTER_WRITE);  // both are on their way while it is added
  eventer_trigger(e, EVENTER_WRITE);
  may_go.give();
  holds.join();
  run_callback([] {}, 1);
  CHECK(calls.calls == 1);
  CHECK(eventer_free(e) == mtev_true);

  // A callback that was triggered and moves its event leaves nothing behind.
  counted moves;
  moves.answer = EVENTER_READ;
  const eventer_t moving = eventer_alloc_fd(
      [](eventer_t self, int mask, void* closure, timeval* now) {
        const int answer = count(self, mask, closure, now);
        char byte;
        int wanted;
        while (eventer_read(self, &byte, 1, &wanted) > 0) continue;
        eventer_set_owner(self, eventer_choose_owner(1));
        return answer;
      },
      &moves, pair.ends[0], EVENTER_READ);
  eventer_set_owner(moving, eventer_choose_owner(0));
  eventer_add(moving);
  eventer_trigger(moving, EVENTER_READ);
  moves.called.wait();
  run_callback([] {}, 1);
  for (int i = 0; i < 20; ++i) {
    const int called = moves.calls;
    REQUIRE(::write(pair.ends[1], "x", 1) == 1);
    moves.called.wait();
    CHECK(::pthread_equal(moves.thread, eventer_choose_owner(1)) != 0);
    run_callback([] {}, 0);
    run_callback([] {}, 1);
    CHECK(moves.calls >= called + 1);
  }
  eventer_free(eventer_remove(moving));
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("an event that is watched for nothing is a descriptor's still") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  socket_pair pair;
  counted calls;
  const eventer_t e = eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_WRITE);
  eventer_set_mask(e, EVENTER_READ);
  eventer_add(e);
  eventer_update(e, 0);
  run_callback([] {});  // the loop has heard of it
  REQUIRE(::write(pair.ends[1], "x", 1) == 1);
  run_callback([] {});
  CHECK(calls.calls == 0);
  CHECK(eventer_remove(e) == e);
  CHECK(eventer_find_fd(pair.ends[0]) == nullptr);
  eventer_free(e);
  eventer_add(eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_READ));
  calls.called.wait();
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("a callback that gives its event away and removes it leaves nothing on its old loop") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  for (int i = 0; i < 3; ++i) {
    socket_pair pair;
    notice done;
    const eventer_t e = eventer_alloc_fd(
        [](eventer_t self, int, void* closure, timeval*) {
          eventer_set_owner(self, eventer_choose_owner(1));
          eventer_remove_fde(self);
          static_cast<notice*>(closure)->give();
          return 0;
        },
        &done, pair.ends[0], EVENTER_WRITE);
    eventer_set_owner(e, eventer_choose_owner(0));
    eventer_add(e);
    done.wait();
    run_callback([] {}, 0);
    run_callback([] {}, 1);
  }
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("a callback that is triggered in a coroutine must not wait, and says so when asked") {
  socket_pair pair;
  struct shared {
    int called = 0;
    mtev_boolean may_wait = mtev_true, may_wait_behind = mtev_false;
  };
  const auto mine = std::make_unique<shared>();
  shared* const it = mine.get();
  const int fd = pair.ends[0];
  run_coroutine([it, fd] {
    eventer_trigger(eventer_alloc_fd(
                        [](eventer_t, int, void* closure, timeval*) {
                          auto& here = *static_cast<shared*>(closure);
                          ++here.called;
                          here.may_wait = eventer_is_aco(nullptr);
                          return 0;
                        },
                        it, fd, EVENTER_READ),
                    EVENTER_READ);
    it->may_wait_behind = eventer_is_aco(nullptr);
  });
  CHECK(mine->called == 1);
  CHECK(mine->may_wait == mtev_false);
  CHECK(mine->may_wait_behind == mtev_true);
}

TEST_CASE("a recurrent event moves where its callback says") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  counted calls;
  calls.answer = EVENTER_RECURRENT;
  const eventer_t e = eventer_alloc_recurrent(
      [](eventer_t self, int mask, void* closure, timeval* now) {
        eventer_set_owner(self, eventer_choose_owner(1));
        return count(self, mask, closure, now);
      },
      &calls);
  eventer_set_owner(e, eventer_choose_owner(0));
  eventer_add(e);
  calls.called.wait();
  run_callback([] {}, 0);
  calls.called.wait(2);
  run_callback([] {}, 1);
  CHECK(::pthread_equal(calls.thread, eventer_choose_owner(1)) != 0);
  CHECK(eventer_remove(e) == e);
  run_callback([] {}, 1);
  eventer_free(e);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("timers: once, again as long as they say so, removed, moved to another time") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  counted once;
  eventer_add_in_s_us(&count, &once, 0, 1000);
  once.called.wait();
  CHECK(once.last_mask == EVENTER_TIMER);

  struct repeated {
    notice done;
    int calls = 0;
  } again;
  eventer_add_in_s_us(
      [](eventer_t e, int, void* closure, timeval* now) {
        auto& mine = *static_cast<repeated*>(closure);
        if (++mine.calls == 5) {
          mine.done.give();
          return 0;
        }
        timeval next{};
        add_timeval(*now, timeval{0, 100}, &next);
        eventer_update_whence(e, next);
        return EVENTER_TIMER;
      },
      &again, 0, 100);
  again.done.wait();
  CHECK(again.calls == 5);

  counted never;
  const eventer_t late = eventer_add_in_s_us(&count, &never, 3600, 0);
  int found = 0;
  eventer_foreach_timedevent(
      [](eventer_t each, void* closure) { *static_cast<int*>(closure) += eventer_get_callback(each) == &count; },
      &found);
  CHECK(found == 1);
  CHECK(eventer_remove(late) == late);
  CHECK(eventer_remove_timed(late) == nullptr);
  eventer_free(late);

  counted moved;
  const eventer_t e = eventer_add_in_s_us(&count, &moved, 3600, 0);
  eventer_update_whence(e, timeval{});
  moved.called.wait();
  CHECK(never.calls == 0);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("recurrent events are called in each turn, also of a loop that sleeps; adding twice is once") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  counted calls;
  calls.answer = EVENTER_RECURRENT;
  const eventer_t e = eventer_alloc_recurrent(&count, &calls);
  eventer_add(e);
  eventer_add_recurrent(e);
  calls.called.wait(3);
  CHECK(calls.last_mask == EVENTER_RECURRENT);
  CHECK(eventer_remove(e) == e);
  eventer_free(e);

  counted other;  // answers 0
  eventer_add(eventer_alloc_recurrent(&count, &other));
  other.called.wait();
  run_callback([] {});
  CHECK(other.calls == 1);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("events may be made, added and removed in coroutines, and by many threads") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  struct all {
    counted calls;
    socket_pair pair;
  } shared;
  run_coroutine([&shared] {
    const eventer_t e = eventer_alloc_fd(&count, &shared.calls, shared.pair.ends[0], EVENTER_WRITE);
    eventer_add(e);
    timeval pause{0, 1000};
    while (shared.calls.calls == 0) eventer_aco_sleep(&pause);
    eventer_add_in_s_us(&count, &shared.calls, 0, 0);
    while (shared.calls.calls == 1) eventer_aco_sleep(&pause);
  });
  CHECK(shared.calls.last_mask == EVENTER_TIMER);

  constexpr int threads = 4, events = 500;
  counted calls;
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i)
    workers.emplace_back([&calls, i] {
      for (int n = 0; n < events; ++n) {
        eventer_add_timer_next_opportunity(&count, &calls, eventer_choose_owner((i + n) % 2));
        const eventer_t gone = eventer_add_in_s_us(&count, &calls, 3600, 0);
        eventer_free(eventer_remove(gone));
      }
    });
  for (std::thread& each : workers) each.join();
  calls.called.wait(threads * events);
  CHECK(calls.calls == threads * events);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("a number that another thread has closed and opened again is another file") {
  compat_test::start();
  const auto before = compat_test::at_rest();
  for (int i = 0; i < 200; ++i) {
    socket_pair pair;
    counted calls;
    calls.answer = EVENTER_READ;
    const eventer_t e = eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_READ);
    eventer_add(e);
    CHECK(eventer_remove(e) == e);
    eventer_free(e);
    ::close(pair.give(0));
    ::close(pair.give(1));
  }
  socket_pair pair;
  counted calls;
  eventer_add(eventer_alloc_fd(&count, &calls, pair.ends[0], EVENTER_WRITE));
  calls.called.wait();
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("what may be asked about loops, pools and threads") {
  compat_test::start();
  CHECK(eventer_loop_concurrency() == 2);
  CHECK(eventer_in_loop() == mtev_false);
  CHECK(eventer_is_loop(::pthread_self()) == -1);
  CHECK(eventer_is_loop(eventer_choose_owner(0)) == 0);
  CHECK(eventer_is_loop(eventer_choose_owner(1)) == 1);
  CHECK(::pthread_equal(eventer_choose_owner(2), eventer_choose_owner(1)) != 0);
  eventer_pool_t* const side = eventer_pool("side");
  REQUIRE(side != nullptr);
  CHECK(eventer_pool_name(side) == std::string("side"));
  CHECK(eventer_pool_concurrency(side) == 1);
  CHECK(eventer_pool("none") == nullptr);
  CHECK(eventer_is_loop(eventer_choose_owner_pool(side, 0)) >= 2);  // there may be more pools
  std::string name;
  mtev_boolean inside = mtev_false;
  run_callback(
      [&] {
        name = eventer_get_thread_name();
        inside = eventer_in_loop();
      },
      1);
  CHECK(name == "e:default/1");
  CHECK(inside == mtev_true);
  CHECK(eventer_choose("epoll") == 0);
  CHECK(eventer_choose("poll") == -1);
  timeval epoch{};
  CHECK(eventer_get_epoch(&epoch) == 0);
  CHECK(epoch.tv_sec > 0);
}

TEST_CASE("properties: what can't be is refused, what nobody knows is passed over") {
  compat_test::start();
  CHECK(eventer_propset("concurrency", "4") == -1);  // the loops run
  CHECK(eventer_propset("loop_more", "1") == -1);
  CHECK(eventer_propset("no_such_thing", "1") == 0);
  CHECK(eventer_propset("default_queue_threads", "many") == -1);
  CHECK(eventer_propset("aco_timeout_errno", "EIO") == -1);
  CHECK(eventer_propset("http_upload_limit", "10M") == -1);
}
