// io_mask: what a descriptor is ready for, or is watched for.
#pragma once

#include <cstdint>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

enum class io_mask : std::uint8_t { none = 0, read = 1, write = 2, error = 4, special = 8 };
// special: hang-up, half-close, urgent data or an error came with it. A short read then proves nothing; see
// descriptor.hpp.

constexpr io_mask operator|(io_mask a, io_mask b) noexcept {
  return static_cast<io_mask>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}
constexpr io_mask operator&(io_mask a, io_mask b) noexcept {
  return static_cast<io_mask>(static_cast<std::uint8_t>(a) & static_cast<std::uint8_t>(b));
}
constexpr io_mask operator~(io_mask a) noexcept { return static_cast<io_mask>(~static_cast<std::uint8_t>(a) & 15); }
constexpr bool any(io_mask mask) noexcept { return mask != io_mask::none; }

}  // namespace eventer::inline EVENTER_ABI
