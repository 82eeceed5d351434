// Any bytes as what a WebSocket's peer sends, to a server and to a client: the same messages and the same end however
// they are cut; and what the receiver tells is what a second one says, which is written down here from RFC 6455 alone.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "../websocket/frames.hpp"

using eventer::http::detail::websocket_side;

static void must(bool holds) {
  if (!holds) std::abort();
}

namespace {

// The whole input at once, without wslay: as slow and as plain as possible.
class plain_reader {
 public:
  plain_reader(std::string_view bytes, websocket_side side, std::size_t most)
      : bytes_(bytes), masked_(side == websocket_side::server), most_(most) {}

  std::string tell() {
    while (!closed_ && frame()) {
    }
    if (!closed_ && (in_message_ || !bytes_.empty())) told_ += "...";
    return told_;
  }

 private:
  bool refuse(int code) {
    told_ += "!" + std::to_string(code);
    closed_ = true;
    return false;
  }
  unsigned at(std::size_t i) const { return static_cast<unsigned char>(bytes_[i]); }
  // The bytes that there are so far, of text: a prefix that can't become UTF-8 is refused.
  static bool may_become_text(std::string_view text, bool is_whole) {
    eventer::http::detail::utf8_check check;
    return check.feed(text) && (!is_whole || check.is_complete());
  }
  bool frame() {
    if (bytes_.size() < 2) return false;
    const unsigned opcode = at(0) & 15;
    const bool last = (at(0) & 128) != 0, has_mask = (at(1) & 128) != 0;
    const unsigned short_size = at(1) & 127;
    const bool control = opcode >= 8;
    if ((at(0) & 0x70) != 0 || has_mask != masked_ || (opcode > 2 && opcode < 8) || opcode > 10) return refuse(1002);
    if (control && (!last || short_size > 125 || (opcode == 8 && short_size == 1))) return refuse(1002);
    if (!control && (opcode == 0) != in_message_) return refuse(1002);
    const std::size_t more = short_size == 126 ? 2 : short_size == 127 ? 8 : 0;
    if (bytes_.size() < 2 + more) return false;
    std::uint64_t size = more == 0 ? short_size : 0;
    for (std::size_t i = 0; i < more; ++i) size = size << 8 | at(2 + i);
    if ((more == 2 && size < 126) || (more == 8 && (size < 65536 || size >= std::uint64_t{1} << 63)))
      return refuse(1002);
    if (!control && size > most_ - message_.size()) return refuse(1009);
    const std::size_t head = 2 + more + (masked_ ? 4 : 0);
    if (bytes_.size() < head) return false;
    const std::uint64_t here = std::min<std::uint64_t>(size, bytes_.size() - head);
    std::string payload(bytes_.substr(head, static_cast<std::size_t>(here)));
    for (std::size_t i = 0; masked_ && i < payload.size(); ++i)
      payload[i] = static_cast<char>(static_cast<unsigned char>(payload[i]) ^ at(head - 4 + i % 4));
    return control ? on_control(opcode, payload, here == size, head)
                   : on_data(opcode, payload, here == size && last, here == size, head);
  }
  bool on_data(unsigned opcode, const std::string& payload, bool ends, bool is_here, std::size_t head) {
    if (opcode != 0) is_text_ = opcode == 1;
    const std::string so_far = message_ + payload;
    if (is_text_ && !may_become_text(so_far, ends)) return refuse(1007);
    if (!is_here) return false;
    bytes_.remove_prefix(head + payload.size());
    in_message_ = !ends;
    message_ = ends ? "" : so_far;
    if (ends) told_.append(is_text_ ? "T<" : "B<").append(so_far).append(">");
    return true;
  }
  bool on_control(unsigned opcode, const std::string& payload, bool is_here, std::size_t head) {
    if (!is_here) return false;
    bytes_.remove_prefix(head + payload.size());
    if (opcode != 8) {
      told_.append(opcode == 9 ? "I<" : "O<").append(payload).append(">");
      return true;
    }
    unsigned code = 1005;
    if (!payload.empty()) {
      code =
          static_cast<unsigned>(static_cast<unsigned char>(payload[0])) << 8 | static_cast<unsigned char>(payload[1]);
      const bool may_be =
          (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
      if (!may_be) return refuse(1002);
      if (!may_become_text(payload.substr(2), true)) return refuse(1007);
    }
    told_ += "C<" + std::to_string(code) + " " + (payload.empty() ? "" : payload.substr(2)) + ">";
    return !(closed_ = true);
  }

  std::string_view bytes_;
  const bool masked_;
  const std::size_t most_;
  std::string message_, told_;
  bool in_message_ = false, is_text_ = false, closed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const websocket_side side : {websocket_side::server, websocket_side::client})
    for (const std::size_t most : {std::size_t{20}, std::size_t{1} << 20}) {
      const std::string told = frames::read_whole(bytes, side, most);
      must(frames::read_bytewise(bytes, side, most) == told);
      must(frames::read_split(bytes, size / 2, side, most) == told);
      must(plain_reader(bytes, side, most).tell() == told);
      // One that was lent to another connection before: behind any beginning of it, of either side.
      for (const websocket_side before : {websocket_side::server, websocket_side::client}) {
        frames::reader used(before, 1 << 20);
        used.feed(bytes.substr(0, size / 2));
        if (!used.reuse(side, most)) continue;
        used.feed(bytes);
        must(used.end() == told);
      }
    }
  return 0;
}
