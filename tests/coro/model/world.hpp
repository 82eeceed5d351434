// What a generated program is made of and what the model knows of it: tokens that are counted, records of coroutines,
// the things that they share, and the first violation of what was promised. Everything is on the heap or on the native
// stack, as what coroutines share has to be.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <exception>
#include <list>
#include <string>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

#include "eventer/eventer.hpp"

namespace model {

using namespace std::chrono_literals;
using eventer::time_point;

// splitmix64, so that a seed means the same program everywhere: Steele, Lea, Flood, OOPSLA 2014.
inline std::uint64_t mix(std::uint64_t z) noexcept {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
class draws {
 public:
  explicit draws(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t next() noexcept { return mix(state_ += 0x632be59bd9b4e019u); }
  unsigned below(unsigned n) noexcept { return static_cast<unsigned>((next() >> 32) % n); }
  bool chance(unsigned percent) noexcept { return below(100) < percent; }
  eventer::duration time() noexcept { return std::chrono::milliseconds(below(5)); }

 private:
  std::uint64_t state_;
};

class world;
inline world* the = nullptr;  // the program that runs; one at a time

// Is destroyed exactly once, wherever it is moved. Eight bytes, so that a closure with it fits into a control block.
class token {
 public:
  token();
  token(token&& other) noexcept : id_(std::exchange(other.id_, 0)), canary_(std::exchange(other.canary_, 0)) {}
  token& operator=(token&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(canary_, other.canary_);
    return *this;
  }
  ~token();
  std::uint32_t id() const noexcept { return id_; }
  void look() const;  // it is alive, and its bytes are its own

 private:
  static constexpr std::uint32_t magic = 0x7a11f00d;
  std::uint32_t id_, canary_;
};

// What a program throws: identified by a number. The coded one is a std::system_error, which try_join answers as its
// code.
struct failure {
  token content;
  long number;
};
struct coded_failure : std::system_error {
  explicit coded_failure(long n) : std::system_error(static_cast<int>(n) + 1000, std::generic_category()) {}
  token content;
};
// Which one is handled: what is thrown again must be the same. Above zero: one of the program's.
inline long identity_of(const std::error_code& code) {
  return -code.value() - (code.category() == std::generic_category() ? 0 : 100000);
}
inline long identity_of_current() {
  try {
    throw;
  } catch (const failure& what) {
    what.content.look();
    return what.number;
  } catch (const std::system_error& what) {
    return identity_of(what.code());
  }
}

enum class how : std::uint8_t { nothing, value, exception, canceled };

struct group_record;

// A coroutine, from its spawn to the end of the world.
struct record {
  unsigned number = 0;
  std::uint64_t seed = 0;
  unsigned depth = 0;  // of what it may spawn
  record* parent = nullptr;
  group_record* group = nullptr;
  eventer::join_handle<token> handle;  // here, so that everybody may cancel it
  std::uint32_t closure = 0;           // its token
  std::uint64_t id = 0;
  bool started = false, detached = false, born_late = false, answered = false, remote = false;
  bool not_joined = false;   // nobody could, when it ended, or nobody did
  bool taken_along = false;  // by a when_any or when_all, which may cancel it
  record* joined_by = nullptr;
  unsigned cancels = 0;  // asked for by somebody
  unsigned shields = 0;
  time_point shielded_since{};
  time_point scope = eventer::no_deadline;
  how end = how::nothing;
  long result = 0;  // the value's token, or the exception's identity
  time_point ended_at{};

  bool ended() const noexcept { return end != how::nothing; }
  bool is_reported_as(long identity) const noexcept {
    return end == how::exception && result == identity && not_joined && group == nullptr;
  }
  bool cancel_due() const noexcept { return cancels > 0 && shields == 0 && !remote; }
};

struct group_record {
  record* owner = nullptr;
  std::vector<record*> members;
  long first_failure = 0;  // that nobody has been thrown yet
  bool canceled = false, ever_canceled = false, joining = false, left = false;

  bool is_reported_as(long identity) const noexcept { return left && first_failure == identity; }
  void cancel() noexcept {
    canceled = ever_canceled = true;
    for (record* const each : members)
      if (each->started && !each->ended()) ++each->cancels;
  }
};

struct parcel {
  token content;
  std::uint32_t number;
};
struct parcel_record {
  unsigned sender;
  const char* end = nullptr;  // what the sender was told
  bool received = false;
};

template <class Channel>
struct pipe {
  explicit pipe(std::size_t capacity) : channel(capacity) {}
  Channel channel;
  std::size_t sent = 0, received = 0;
  bool closed = false;
  bool reordered = false;  // a when_any may have put one back
  time_point changed{};    // when something was done last that others may have waited for
};

// Those who wait for something, in the order in which they came.
struct waiting {
  const record* who;
  time_point until;
  bool notified = false;
};
class queue {
 public:
  class place {
   public:
    place(queue& in, const record& who, time_point until)
        : in_(in), at_(in.all_.insert(in.all_.end(), {&who, until})) {}
    place(const place&) = delete;
    place& operator=(const place&) = delete;
    ~place() { in_.all_.erase(at_); }
    bool first() const noexcept { return at_ == in_.all_.begin(); }
    bool notified() const noexcept { return at_->notified; }
    // Whether all before it have waited for as long as they wanted.
    bool first_in_time(time_point now) const noexcept {
      return std::all_of(in_.all_.begin(), at_, [now](const waiting& each) { return each.until <= now; });
    }

   private:
    queue& in_;
    std::list<waiting>::iterator at_;
  };
  // Marks the first who has not been notified, or all. Not where it can't be known who that is: one that has waited
  // long enough, or is cancelled, may be there no more.
  template <class Known>
  void notify(bool all, Known known) {
    for (waiting& each : all_) {
      if (each.notified) continue;
      if (each.notified = known(each); !all) return;
    }
  }

 private:
  std::list<waiting> all_;
};

template <class Mutex, class Condition>
struct monitor {
  Mutex mutex;
  Condition condition;
  record* holder = nullptr;
  time_point changed{};
  queue for_mutex, for_condition;
};

// The stack of whoever makes one: filled, and looked at again.
template <std::size_t Words>
class frame_mark {
 public:
  EVENTER_NOINLINE explicit frame_mark(std::uint64_t seed) noexcept : seed_(seed) {
    for (std::size_t i = 0; i < Words; ++i) words_[i] = mix(seed + i);
  }
  frame_mark(const frame_mark&) = delete;
  frame_mark& operator=(const frame_mark&) = delete;
  EVENTER_NOINLINE ~frame_mark() { look(); }
  EVENTER_NOINLINE void look() const;

 private:
  const std::uint64_t seed_;
  volatile std::uint64_t words_[Words];
};

class world {
 public:
  world(bool tracing, const std::unordered_set<std::uint64_t>& without) : tracing_(tracing), without_(without) {
    the = this;
    tokens_.reserve(256);
  }
  world(const world&) = delete;
  world& operator=(const world&) = delete;
  ~world() { the = nullptr; }

  // --- what is promised ---

  void require(bool holds, const char* what, const record* who = nullptr) {
    if (EVENTER_UNLIKELY(!holds)) violated(what, who);
  }
  EVENTER_NOINLINE void violated(const char* what, const record* who) {
    if (tracing_) std::printf("!! %s\n", what);
    if (!violation.empty()) return;
    violation = what;
    if (who != nullptr) violation += " (coroutine " + std::to_string(who->number) + ")";
    if (loop != nullptr) loop->stop();
  }
  std::string violation;  // the first; empty: none

  // --- the trace ---

  void note(const record* who, const char* what, long answer = 0) {
    for (const char* each = what; *each != 0; ++each) trace_ = trace_ * 31 + static_cast<unsigned char>(*each);
    const long long time = clock != nullptr ? clock->now().time_since_epoch().count() : 0;
    trace_ = mix(trace_ + static_cast<std::uint64_t>(answer) + static_cast<std::uint64_t>(time) +
                 (who != nullptr ? who->number : 0));
    if (EVENTER_UNLIKELY(tracing_)) {
      std::printf("%8.3f ms  %3u  %s %ld\n", static_cast<double>(time) / 1e6 - 3.6e6, who != nullptr ? who->number : 0,
                  what, answer);
      std::fflush(stdout);
    }
  }
  std::uint64_t trace() const noexcept { return trace_; }

  // Whether a step is to be done: not beyond the budget, and not where a smaller failing program is looked for.
  bool does(std::uint64_t step) {
    if (!violation.empty() || ++steps_ > most_steps) return false;
    if (EVENTER_UNLIKELY(without_.contains(step))) return false;
    steps_done.push_back(step);
    return true;
  }
  void count_await() {
    if (++awaits_ == most_awaits) violated("the program does not end", nullptr);
  }
  std::vector<std::uint64_t> steps_done;

  // --- what it consists of ---

  time_point now() const noexcept { return clock->now(); }
  record& new_record(record* parent, std::uint64_t seed, unsigned depth) {
    record& made = coroutines.emplace_back();
    made.number = static_cast<unsigned>(coroutines.size());
    made.parent = parent;
    made.seed = seed;
    made.depth = depth;
    made.born_late = ending;
    return made;
  }
  void begin_round() noexcept {
    note(nullptr, "a program begins");
    steps_ = 0;
    coroutines_before_ = coroutines.size();
  }
  // The loop is about to be destroyed: everything that has not ended is cancelled.
  void begin_to_end() {
    note(nullptr, "the loop is destroyed");
    ending = true;
    ending_at = now();
    for (record& each : coroutines)
      if (!each.ended()) ++each.cancels;
  }
  bool room_for_more() const noexcept { return coroutines.size() - coroutines_before_ < most_coroutines; }
  record& any_coroutine(draws& d) noexcept { return coroutines[d.below(static_cast<unsigned>(coroutines.size()))]; }

  // Whether somebody may have asked it to end: by its handle, its group, or as its group's owner ends a wait for it.
  bool may_have_been_asked(const record& who) const noexcept {
    const group_record* const in = who.group;
    return ending || who.cancels > 0 || who.taken_along ||
           (in != nullptr &&
            (in->canceled || (in->joining && (now() >= in->owner->scope || may_have_been_asked(*in->owner)))));
  }
  // Whether a coroutine may see a cancellation now. A shield holds until the grace period of the loop's end is over.
  bool may_be_cancelled(const record& who) const noexcept {
    if (who.shields == 0) return may_have_been_asked(who);
    return ending && (who.shielded_since >= ending_at || now() >= ending_at + grace);
  }

  long new_failure() noexcept { return ++failures_; }
  void unhandled(long identity) { unhandled_.push_back(identity); }

  // A parcel from `who`, or from a callback.
  parcel new_parcel(const record* who) {
    parcels.push_back({who != nullptr ? who->number : 0});
    return {token(), static_cast<std::uint32_t>(parcels.size() - 1)};
  }
  template <class Pipe>
  void sent(Pipe& through, std::uint32_t number) {
    ++through.sent;
    through.changed = now();
    parcels[number].end = "sent";
  }
  void refused(std::uint32_t number) {
    parcels[number].end = "refused";
    require(!parcels[number].received, "a value was received that its sender was told was not sent");
  }
  // `who`: nullptr where it is not the same receiver twice.
  template <class Pipe>
  void received(Pipe& through, const parcel& what, const record* who) {
    what.content.look();
    parcel_record& mine = parcels[what.number];
    require(!mine.received, "a value was received twice", who);
    require(mine.end == nullptr || *mine.end == 's', "a value was received that was not sent", who);
    mine.received = true;
    ++through.received;
    if (who == nullptr || mine.sender == 0 || through.reordered) return;
    for (last_seen& each : seen_)
      if (each.receiver == who->number && each.sender == mine.sender && each.through == &through) {
        require(each.number < what.number, "a receiver got a sender's values in another order", who);
        each.number = what.number;
        return;
      }
    seen_.push_back({&through, who->number, mine.sender, what.number});
  }

  // What is seen at the end of everything.
  void look_at_the_end() {
    timers.clear();
    for (const record& each : coroutines) {
      require(each.ended() || !each.started, "a coroutine has begun and not ended", &each);
      require(each.started || each.cancels > 0 || each.born_late || each.taken_along || ending ||
                  (each.group != nullptr && each.group->ever_canceled),
              "a coroutine that nobody cancelled has not run", &each);
      require(!alive(each.closure), "a closure was not destroyed", &each);
      if (each.end != how::exception) continue;
      const auto is_it = [&each](const auto& other) { return other.is_reported_as(each.result); };
      require(each.result <= 0 || std::count(unhandled_.begin(), unhandled_.end(), each.result) ==
                                      std::count_if(coroutines.begin(), coroutines.end(), is_it) +
                                          std::count_if(groups.begin(), groups.end(), is_it),
              "an exception that nobody could take was not reported, or one that somebody has taken was", &each);
    }
    for (const parcel_record& each : parcels) require(each.end != nullptr, "a send was not answered");
    const auto left = [this](auto& which) {
      require(which.channel.size() <= which.channel.capacity() || which.reordered,
              "a channel holds more than its capacity");
      while (auto value = which.channel.try_receive()) received(which, *value, nullptr);
      require(which.sent == which.received, "values were lost, or came from nowhere");
    };
    left(bounded);
    left(rendezvous);
    left(shared);
    require(semaphore.available() == semaphore_units, "units of the semaphore were lost, or came from nowhere");
    require(local.mutex.try_lock(), "a mutex is held by nobody");
    require(wide.mutex.try_lock(), "a shared mutex is held by nobody");
    require(posts_destroyed == posts_made, "a posted closure was not destroyed");
    require(floating == 0, "a C++20 coroutine has not ended");
    for (const char state : tokens_)
      if (state == 1) return violated("something was not destroyed", nullptr);
  }

  bool alive(std::uint32_t id) const noexcept { return id != 0 && tokens_[id - 1] == 1; }

  // Which kinds of steps this program has many of: Groce et al., "Swarm testing", ISSTA 2012.
  std::uint64_t favours = 0;

  static constexpr std::size_t semaphore_units = 3;

  eventer::event_loop* loop = nullptr;
  eventer::manual_clock* clock = nullptr;
  void stop() {
    stopped = true;
    loop->stop();
  }
  bool stopped = false;
  bool ending = false;
  time_point ending_at{};
  eventer::duration grace{};

  std::deque<record> coroutines;
  std::deque<group_record> groups;
  std::vector<parcel_record> parcels;
  pipe<eventer::channel<parcel>> bounded{2}, rendezvous{0};
  pipe<eventer::shared_channel<parcel>> shared{1};
  monitor<eventer::mutex, eventer::condition> local;
  monitor<eventer::shared_mutex_handle, eventer::shared_condition> wide;
  eventer::semaphore semaphore{semaphore_units};
  std::size_t units_held = 0;
  queue for_units;
  eventer::manual_reset_event event;
  std::size_t event_sets = 0;
  time_point event_set_at{}, group_zero_at{}, gate_left_at{}, units_changed{};
  eventer::wait_group group;
  std::size_t group_zeros = 0;
  eventer::gate gate;
  eventer::once once;
  bool once_running = false;
  std::vector<eventer::event> timers;
  std::size_t posts_made = 0, posts_destroyed = 0;
  std::size_t floating = 0;
  long thrown_by_callback = 0;

 private:
  static constexpr unsigned most_steps = 400, most_awaits = 5000;
  static constexpr std::size_t most_coroutines = 40;

  struct last_seen {
    const void* through;
    unsigned receiver, sender;
    std::uint32_t number;
  };

  const bool tracing_;
  const std::unordered_set<std::uint64_t>& without_;
  std::uint64_t trace_ = 0;
  unsigned steps_ = 0, awaits_ = 0;
  std::size_t coroutines_before_ = 0;
  long failures_ = 0;
  std::vector<long> unhandled_;
  std::vector<last_seen> seen_;
  std::vector<char> tokens_;  // 1: alive, 2: destroyed

  friend class token;
};

inline token::token() {
  the->tokens_.push_back(1);
  id_ = static_cast<std::uint32_t>(the->tokens_.size());
  canary_ = id_ ^ magic;
}
inline token::~token() {
  if (id_ == 0 && canary_ == 0) return;
  look();
  if (id_ - 1 < the->tokens_.size()) the->tokens_[id_ - 1] = 2;
  canary_ = 0xdeadbeef;  // and the number stays: a second destruction is seen
}
inline void token::look() const {
  if (id_ == 0 && canary_ == 0) return the->violated("something is used that was moved from", nullptr);
  if (canary_ != (id_ ^ magic) || id_ - 1 >= the->tokens_.size())
    return the->violated("the bytes of a value are not its own, or it is used after its destruction", nullptr);
  the->require(the->tokens_[id_ - 1] == 1, "something is destroyed twice, or used afterwards");
}
template <std::size_t Words>
void frame_mark<Words>::look() const {
  for (std::size_t i = 0; i < Words; ++i)
    if (EVENTER_UNLIKELY(words_[i] != mix(seed_ + i)))
      return the->violated("the bytes of a frame have changed", nullptr);
}

}  // namespace model
