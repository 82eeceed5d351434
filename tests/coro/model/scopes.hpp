// Steps with other steps inside: exceptions and who catches them, shields, deadlines, groups, own stacks, deep frames.
#pragma once

#include <optional>

#include "coroutines.hpp"

namespace model {

inline void do_throw(record&, place, draws& d) {
  if (d.chance(50)) return;
  const long number = the->new_failure();
  if (d.chance(70)) throw failure{token(), number};
  throw coded_failure(number);
}
inline void do_catch(record& me, place at, draws& d) {
  try {
    steps(me, at, d.next(), 4);
  } catch (const eventer::cancelled&) {
    throw;
  } catch (...) {
    const long before = identity_of_current();
    try {
      steps(me, {0, at.holding}, d.next(), 2);
    } catch (const eventer::cancelled&) {
      throw;
    } catch (...) {
      the->note(&me, "one more exception");
    }
    the->require(identity_of_current() == before, "the exception that is handled has become another one", &me);
    if (!d.chance(30)) return;
    try {
      throw;
    } catch (...) {
      the->require(identity_of_current() == before, "another exception was thrown again", &me);
      throw;
    }
  }
}
inline void do_swallow(record& me, place at, draws& d) {
  try {
    steps(me, at, d.next(), 4);
  } catch (const eventer::cancelled&) {
    the->note(&me, "swallows");
    for (unsigned i = d.below(3); i > 0; --i) try {
        sleep(me, 1ms);
      } catch (const eventer::cancelled&) {
      }
  }
}
inline void do_shield(record& me, place at, draws& d) {
  const shield puts_off(me);
  steps(me, at, d.next(), 3);
}
inline void do_deadline(record& me, place at, draws& d) {
  try {
    const deadline limits(me, d.time());
    steps(me, at, d.next(), 4);
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::timed_out || d.chance(20)) throw;
  }
}
// Whose destructor waits: in a shield, or with an exception in flight, where awaits do not throw.
inline void do_wait_in_destructor(record& me, place at, draws& d) {
  struct waits {
    record& me;
    const bool shielded;
    ~waits() {
      try {
        std::optional<shield> puts_off;
        if (shielded) puts_off.emplace(me);
        sleep(me, 1ms);
        const auto got = limited(me, "receive in a destructor", 1ms, [] { return the->bounded.channel.receive(1ms); });
        if (got) the->received(the->bounded, *got, &me);
      } catch (const eventer::cancelled&) {
      }
    }
  } const at_end{me, d.chance(60)};
  steps(me, at, d.next(), 2);
}

template <std::size_t Words>
EVENTER_NOINLINE void recurse(record& me, place at, draws& d, unsigned levels) {
  const frame_mark<Words> mine(d.next());
  if (levels > 0)
    recurse<Words>(me, at, d, levels - 1);
  else
    steps(me, {0, at.holding}, d.next(), 2);
  mine.look();
}
inline void do_recurse(record& me, place at, draws& d) {
  const unsigned levels = d.below(4);
  d.chance(60)   ? recurse<5>(me, at, d, levels)
  : d.chance(80) ? recurse<40>(me, at, d, levels)
                 : recurse<300>(me, at, d, levels);
}

// A member of a group whose scope is on an own stack may use what lies there.
struct group_body : body {
  const frame_mark<16>* lent;
  eventer::task_group* into;
  token operator()();
};
inline void spawn_member(record& owner, group_record& in, eventer::task_group& group, draws& d,
                         const frame_mark<16>* lent) {
  record& child = new_coroutine(&owner, d, owner.depth > 0 ? owner.depth - 1 : 0);
  child.group = &in;
  in.members.push_back(&child);
  the->note(&owner, "spawn into a group", static_cast<long>(child.number));
  eventer::spawn_options options;
  if (d.chance(10)) options.stack = eventer::stack_kind::own;
  group.spawn(options, group_body{body_of(child), lent, lent != nullptr ? &group : nullptr});
}
inline token group_body::operator()() {
  if (lent == nullptr) return body::operator()();
  lent->look();
  draws d(me->seed ^ 1);
  if (d.chance(30) && the->room_for_more()) spawn_member(*me, *me->group, *into, d, lent);
  struct looks_again {
    const frame_mark<16>* lent;
    ~looks_again() { lent->look(); }
  } const at_end{lent};
  return body::operator()();
}

inline void look_at_members(const group_record& in) {
  for (const record* const each : in.members) {
    the->require(each->ended() || !each->started, "a group was joined before a coroutine in it has ended", each);
    the->require(!the->alive(each->closure), "a group was joined before a closure in it was destroyed", each);
  }
}
inline void group_scope(record& me, place at, draws& d, const frame_mark<16>* lent) {
  group_record& in = the->groups.emplace_back();
  in.owner = &me;
  struct ended {
    group_record& in;
    ~ended() {
      in.left = true;
      look_at_members(in);
    }
  } const at_end{in};
  eventer::task_group all;
  struct leaves {
    group_record& in;
    ~leaves() { in.cancel(); }
  } const leaving{in};

  for (unsigned round = d.below(3) / 2; round < 2; ++round) {
    for (unsigned i = 1 + d.below(3); i > 0 && the->room_for_more(); --i) spawn_member(me, in, all, d, lent);
    steps(me, {at.depth > 0 ? at.depth - 1 : 0, at.holding}, d.next(), 3);
    if (d.chance(20)) {
      the->note(&me, "cancel a group");
      in.cancel();
      all.cancel();
    }
    switch (d.below(4)) {
      case 0:
        return;
      case 1:
        do_throw(me, at, d);
        break;
      default: {
        struct joins {
          group_record& in;
          explicit joins(group_record& g) : in(g) { in.joining = true; }
          ~joins() {
            in.ever_canceled = in.ever_canceled || the->may_have_been_asked(*in.owner) || the->now() >= in.owner->scope;
            in.joining = in.canceled = false;
            look_at_members(in);
          }
        };
        try {
          {
            const joins now(in);
            awaiting(me, "join a group", is::cancellation_point, [&] { all.join(); });
          }
          the->require(in.first_failure == 0, "a group was joined, and a failure in it forgotten", &me);
        } catch (const eventer::cancelled&) {
          throw;
        } catch (...) {
          const long what = identity_of_current();
          if (what != std::exchange(in.first_failure, 0)) {
            in.first_failure = 0;
            the->require(
                what == identity_of(eventer::make_error_code(eventer::errc::timed_out)) && the->now() >= me.scope,
                "a group has thrown something else", &me);
          }
          if (d.chance(50)) throw;
        }
      }
    }
  }
}
inline void do_group(record& me, place at, draws& d) {
  if (!the->room_for_more() || me.depth == 0) return;
  group_scope(me, at, d, nullptr);
}
inline void do_own_stack(record& me, place at, draws& d) {
  const frame_mark<8> around(d.next());
  const bool with_group = at.depth > 0 && !at.holding && me.depth > 0 && d.chance(50);
  const auto call = [&] {
    const frame_mark<16> locals(d.next());
    if (with_group)
      group_scope(me, at, d, &locals);
    else
      steps(me, {at.depth > 0 ? at.depth - 1 : 0, at.holding}, d.next(), 3);
    locals.look();
    around.look();
    return me.number;
  };
  // One more stack inside such a call, where so many bytes are not left.
  const unsigned result = d.chance(40) ? eventer::call_on_own_stack(96 << 10, call) : eventer::call_on_own_stack(call);
  the->require(result == me.number, "a call on an own stack has given something else", &me);
}

}  // namespace model
