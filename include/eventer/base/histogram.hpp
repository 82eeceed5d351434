// duration_histogram: how long things took, in buckets whose width grows with the value (HdrHistogram's layout with
// eight buckets for each doubling): a quantile is at most an eighth too large. Not synchronised; 2.6 KB.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

class duration_histogram {
 public:
  // Below zero counts as zero; above 2^42 ns, more than an hour, as that.
  void record(duration value) noexcept {
    const std::int64_t nanoseconds = std::chrono::nanoseconds(value).count();
    const std::uint64_t v = nanoseconds <= 0 ? 0 : static_cast<std::uint64_t>(nanoseconds);
    ++buckets_[bucket_of(v)];
    ++count_;
    sum_ += v;
    if (v > max_) max_ = v;
  }
  void merge(const duration_histogram& other) noexcept {
    for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    if (other.max_ > max_) max_ = other.max_;
  }

  std::uint64_t count() const noexcept { return count_; }
  // How many took less than 2^power nanoseconds, which is where a bucket begins: exact. 2^10 is about a microsecond,
  // 2^20 a millisecond, 2^30 a second.
  std::uint64_t count_below_power(unsigned power) const noexcept {
    const std::uint64_t bound = std::uint64_t{1} << (power < most_bits ? power : most_bits);
    const std::size_t end = power < most_bits ? bucket_of(bound) : bucket_count;
    std::uint64_t result = 0;
    for (std::size_t i = 0; i < end; ++i) result += buckets_[i];
    return result;
  }
  duration sum() const noexcept { return ticks(sum_); }
  duration max() const noexcept { return ticks(max_); }
  duration mean() const noexcept { return ticks(count_ == 0 ? 0 : sum_ / count_); }
  // At least `share` (0 to 1) of the values are not greater than what this answers: the upper end of a bucket, or
  // max().
  duration quantile(double share) const noexcept {
    const double wanted = share * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen == 0 || static_cast<double>(seen) < wanted) continue;
      const std::uint64_t end = last_of(i);
      return ticks(end < max_ && i + 1 < bucket_count ? end : max_);
    }
    return ticks(max_);
  }

 private:
  static constexpr unsigned fine_bits = 3, most_bits = 42;
  static constexpr std::size_t bucket_count = (most_bits - fine_bits + 1) << fine_bits;

  static std::size_t bucket_of(std::uint64_t value) noexcept {
    constexpr std::uint64_t most = (std::uint64_t{1} << most_bits) - 1;
    if (value > most) value = most;
    if (value < (1u << fine_bits)) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - fine_bits - 1;
    return (static_cast<std::size_t>(shift) << fine_bits) + static_cast<std::size_t>(value >> shift);
  }
  static std::uint64_t last_of(std::size_t bucket) noexcept {
    if (bucket < (2u << fine_bits)) return bucket;
    const std::size_t shift = (bucket >> fine_bits) - 1;
    const std::uint64_t top = (bucket & ((1u << fine_bits) - 1)) + (1u << fine_bits);
    return ((top + 1) << shift) - 1;
  }
  static duration ticks(std::uint64_t nanoseconds) noexcept {
    return std::chrono::duration_cast<duration>(std::chrono::nanoseconds(nanoseconds));
  }

  std::array<std::uint64_t, bucket_count> buckets_{};
  std::uint64_t count_ = 0, sum_ = 0, max_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
