// The interpreter. A step is drawn from its key, and the keys of what is inside it are drawn from the step, so that a
// program is a tree, and leaving one step out changes no other one.
#pragma once

#include "callbacks.hpp"
#include "scopes.hpp"
#include "shared_things.hpp"

namespace model {

inline void do_sleep(record& me, place, draws& d) { sleep(me, d.time()); }
inline void do_yield(record& me, place, draws&) {
  awaiting(me, "yield", is::cancellation_point, [] { eventer::yield(); });
}

using step_function = void (*)(record& me, place at, draws& d);
struct kind_of_step {
  unsigned weight;
  step_function function;
};
// The first ones have no steps inside them that wait without a limit, and none that go deeper.
inline constexpr kind_of_step simple_steps[] = {
    {10, do_sleep}, {8, do_yield},  {8, do_send},  {8, do_receive}, {5, do_select}, {1, do_close},
    {4, do_event},  {3, do_cancel}, {3, do_post},  {2, do_timer},   {2, do_throw},  {2, do_join_any},
    {1, do_drop},   {1, do_stop},   {1, do_float}, {2, do_spawn},
};
inline constexpr kind_of_step deep_steps[] = {
    {10, do_spawn},    {5, do_join_child}, {4, do_recurse},    {4, do_catch},     {3, do_swallow},
    {3, do_shield},    {4, do_deadline},   {6, do_group},      {5, do_own_stack}, {4, do_mutex},
    {4, do_semaphore}, {2, do_once},       {2, do_wait_group}, {2, do_gate},      {2, do_wait_in_destructor},
    {3, do_task},      {2, do_when_any},   {2, do_when_all},
};
template <std::size_t N>
step_function draw(const kind_of_step (&from)[N], unsigned first_bit, draws& d) {
  const auto weight_of = [&](std::size_t i) {
    return from[i].weight * ((the->favours >> (first_bit + i)) % 2 != 0 ? 8 : 1);
  };
  unsigned sum = 0;
  for (std::size_t i = 0; i < N; ++i) sum += weight_of(i);
  unsigned drawn = d.below(sum);
  for (std::size_t i = 0; i < N; drawn -= weight_of(i++))
    if (drawn < weight_of(i)) return from[i].function;
  return nullptr;
}

inline void steps(record& me, place at, std::uint64_t key, unsigned most) {
  const frame_mark<3> mine(key);
  draws many(key);
  for (unsigned i = 1 + many.below(most); i > 0; --i) {
    const std::uint64_t one = many.next();
    if (!the->does(one)) continue;
    draws d(one);
    const bool deep = at.depth > 0 && !at.holding && d.chance(45);
    (deep ? draw(deep_steps, 32, d) : draw(simple_steps, 0, d))(me, {at.depth > 0 ? at.depth - 1 : 0, at.holding}, d);
    mine.look();
  }
}

}  // namespace model
