// What a job_queue is made with, and what it tells about itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eventer/base/histogram.hpp"

namespace eventer::inline EVENTER_ABI {

// What happens to a job that finds max_backlog others waiting for a thread: whoever brings it waits until there is room
// (a callback can't, and is refused), or it is refused, with errc::backlog_full.
enum class when_full : std::uint8_t { wait, refuse };

// Which of a subqueue's jobs a thread takes: the one that came first, or last.
enum class job_order : std::uint8_t { fifo, lifo };

// Members are only ever appended.
struct job_options {
  unsigned min_concurrency = 0;  // threads that stay once they are there
  unsigned max_concurrency = 0;  // threads at most, made when they are needed; 0: the larger of 4 and 4 x usable CPUs
  std::size_t max_backlog = 100'000;  // jobs that may wait for a thread
  enum when_full when_full = eventer::when_full::wait;
  // Who is cancelled, or whose deadline_scope ends, while his job runs does not wait for its end.
  bool abandon = false;
  duration shutdown_grace = std::chrono::seconds(5);  // that the destructor gives to what runs
  duration idle = std::chrono::seconds(30);           // after which a thread that has nothing to do ends
  job_order order = job_order::fifo;
};

// Numbers "so far" only ever grow.
struct job_stats {
  std::size_t threads = 0;             // now
  std::size_t running = 0;             // jobs on a thread now
  std::size_t queued = 0;              // that wait for one, or are about to get one
  std::size_t waiting_for_room = 0;    // that wait to be queued
  duration oldest = duration::zero();  // how long the oldest of all these has been waiting now
  std::uint64_t submitted = 0;         // so far, without those that were refused
  std::uint64_t completed = 0;         // that have run to their end, with an exception or without
  std::uint64_t withdrawn = 0;         // by a time limit or a cancellation, or at the queue's end, before they began
  std::uint64_t abandoned = 0;         // left behind by those who waited, after they had begun
  std::uint64_t refused = 0;           // for want of room, or of a thread
  duration_histogram waited;           // of those that have begun: from the submission
  duration_histogram ran;              // of the completed
};

}  // namespace eventer::inline EVENTER_ABI
