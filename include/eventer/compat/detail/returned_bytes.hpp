// returned_bytes: a layer that gives bytes which were read already to whoever reads next, for those who had to look at
// the beginning of a connection to see whose it is.
#pragma once

#include <array>
#include <cstring>
#include <memory>

#include "eventer/net/any_stream.hpp"
#include "eventer/net/layer.hpp"

namespace eventer::inline EVENTER_ABI::compat {

class returned_bytes final : public layer {
 public:
  static constexpr std::size_t most = 4;

  // Requires: nobody waits on the stream, which is open; at most `most` bytes.
  static void give_back(any_stream& to, const char* bytes, std::size_t count) {
    auto made = std::make_unique<returned_bytes>(bytes, count);
    returned_bytes& over = *made;
    over.put_over(to.file()->put_layer(std::move(made)));
  }
  returned_bytes(const char* bytes, std::size_t count) noexcept : left_(count) {
    std::memcpy(bytes_.data(), bytes, count);
  }

  ssize_t read(void* into, std::size_t size) noexcept override {
    if (left_ == 0) return read_below(into, size);
    const std::size_t given = size < left_ ? size : left_;
    std::memcpy(into, bytes_.data() + first_, given);
    first_ += given;
    left_ -= given;
    return static_cast<ssize_t>(given);
  }
  ssize_t write(const void* from, std::size_t size) noexcept override { return write_below(from, size); }
  int shutdown_write() noexcept override { return shutdown_below(); }
  std::error_code error_of(int number) const noexcept override { return error_below(number); }

 private:
  std::array<char, most> bytes_{};
  std::size_t first_ = 0, left_;
};

}  // namespace eventer::inline EVENTER_ABI::compat
