// Frames: what RFC 6455 allows and what it forbids, whole, bytewise and cut at every offset.
#include <vector>

#include "../catch.hpp"
#include "eventer/websocket/frame_sender.hpp"
#include "frames.hpp"

using namespace std::string_literals;
using namespace std::string_view_literals;
using eventer::http::detail::websocket_side;
using frames::frame;
using frames::length_form;
using frames::text;

namespace {

struct corpus_case {
  std::string bytes, told;
};
const frames::shape open_ended{.last = false};

std::vector<corpus_case> corpus() {
  const std::string long_control(126, 'c');
  return {
      // Messages.
      {text("hello"), "T<hello>"},
      {text(""), "T<>"},
      {frame(2, "\0\xff\x80"sv), "B<\0\xff\x80>"s},
      {frame(2, ""), "B<>"},
      {text("a") + text("b") + frame(2, "c"), "T<a>T<b>B<c>"},
      {text(std::string(125, 'x')), "T<" + std::string(125, 'x') + ">"},
      {text(std::string(126, 'x')), "T<" + std::string(126, 'x') + ">"},
      {text(std::string(300, 'x')), "T<" + std::string(300, 'x') + ">"},
      // In several frames.
      {text("a", open_ended) + frame(0, "b", open_ended) + frame(0, "c"), "T<abc>"},
      {text("", open_ended) + frame(0, "", open_ended) + frame(0, ""), "T<>"},
      {frame(2, "a", open_ended) + frame(0, ""), "B<a>"},
      {text("a", open_ended) + frame(9, "p") + frame(0, "b") + frame(10, "q"), "I<p>T<ab>O<q>"},
      {text("a", open_ended) + frame(8, ""), "C<1005 >"},
      {text("a", open_ended), "..."},
      {text("a", open_ended) + frame(9, "p"), "I<p>..."},
      // Control frames.
      {frame(9, ""), "I<>"},
      {frame(9, std::string(125, 'p')), "I<" + std::string(125, 'p') + ">"},
      {frame(10, "nobody asked"), "O<nobody asked>"},
      {frame(9, "\xff\xfe"), "I<\xff\xfe>"},
      {frame(8, ""), "C<1005 >"},
      {frames::close(1000), "C<1000 >"},
      {frames::close(1000, "bye"), "C<1000 bye>"},
      {frames::close(3000, std::string(123, 'r')), "C<3000 " + std::string(123, 'r') + ">"},
      {frames::close(1000) + text("behind"), "C<1000 >"},
      // What they may not be.
      {frame(9, long_control), "!1002"},
      {frame(10, long_control), "!1002"},
      {frame(8, long_control), "!1002"},
      {frame(9, "p", open_ended), "!1002"},
      {frame(8, "", open_ended), "!1002"},
      {frame(8, "x"), "!1002"},
      {frames::close(1000, "\xff"), "!1007"},
      {frames::close(1000, "\xed\xa0\x80"), "!1007"},
      {frames::close(1000, "half \xe2\x82"), "!1007"},
      // Opcodes and bits that mean nothing.
      {frame(3, ""), "!1002"},
      {frame(4, "x"), "!1002"},
      {frame(5, ""), "!1002"},
      {frame(6, ""), "!1002"},
      {frame(7, "x"), "!1002"},
      {frame(11, ""), "!1002"},
      {frame(12, "x"), "!1002"},
      {frame(13, ""), "!1002"},
      {frame(14, ""), "!1002"},
      {frame(15, "x"), "!1002"},
      {text("x", {.reserved = 4}), "!1002"},
      {text("x", {.reserved = 2}), "!1002"},
      {text("x", {.reserved = 1}), "!1002"},
      {frame(9, "", {.reserved = 4}), "!1002"},
      {text("a") + text("b", {.reserved = 7}), "T<a>!1002"},
      // Continuations.
      {frame(0, "a"), "!1002"},
      {frame(0, "", open_ended), "!1002"},
      {text("a", open_ended) + text("b"), "!1002"},
      {text("a", open_ended) + frame(2, "b"), "!1002"},
      {text("a", open_ended) + frame(0, "b") + frame(0, "c"), "T<ab>!1002"},
      // Lengths: the shortest form, 63 bits.
      {text("a", {.form = length_form::two_bytes}), "!1002"},
      {text(std::string(125, 'x'), {.form = length_form::two_bytes}), "!1002"},
      {text(std::string(126, 'x'), {.form = length_form::eight_bytes}), "!1002"},
      {frame(2, "", {.form = length_form::eight_bytes, .claims = std::uint64_t{1} << 63}), "!1002"},
      {frame(2, "", {.form = length_form::eight_bytes, .claims = UINT64_MAX - 1}), "!1002"},
      {frame(2, "", {.form = length_form::eight_bytes, .claims = (std::uint64_t{1} << 63) - 1}), "!1009"},
      {frame(9, "", {.form = length_form::two_bytes}), "!1002"},
      // Masks.
      {text("a", {.masked = false}), "!1002"},
      {text("", {.masked = false}), "!1002"},
      {text("a") + frame(9, "", {.masked = false}), "T<a>!1002"},
      // UTF-8, told at the first byte that can't be.
      {text("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"), "T<\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5>"},
      {text("\xf0\x9f", open_ended) + frame(0, "\x98\x80"), "T<\xf0\x9f\x98\x80>"},
      {text("\xe2", open_ended) + frame(9, "") + frame(0, "\x82", open_ended) + frame(0, "\xac"), "I<>T<\xe2\x82\xac>"},
      {text("\xe2\x82"), "!1007"},
      {text("\xe2\x82", open_ended) + frame(0, ""), "!1007"},
      {text("\xf4\x90", open_ended), "!1007"},
      {text("good \xff", {.claims = 1000}), "!1007"},
      {text("a") + text("\xc0\x80"), "T<a>!1007"},
      {frame(2, "\xff", open_ended) + frame(0, "\xfe"), "B<\xff\xfe>"},
      {text("\xe2\x82", open_ended) + frame(8, ""), "C<1005 >"},
      // Nothing.
      {"", ""},
      {text("hello").substr(0, 1), "..."},
      {text("hello").substr(0, 5), "..."},
      {text("hello").substr(0, 10), "..."},
  };
}

}  // namespace

TEST_CASE("frames: the corpus, whole, bytewise and cut at every offset") {
  for (const auto& [bytes, told] : corpus()) {
    CAPTURE(bytes, told);
    CHECK(frames::read_whole(bytes, websocket_side::server) == told);
    CHECK(frames::read_bytewise(bytes, websocket_side::server) == told);
    for (std::size_t at = 0; at <= bytes.size(); ++at)
      if (frames::read_split(bytes, at, websocket_side::server) != told) FAIL("cut at " << at);
  }
}

TEST_CASE("frames: a client takes what is not masked, and nothing else") {
  const frames::shape plain{.masked = false};
  const std::string good =
      text("a", plain) + frame(9, "p", plain) + text(std::string(70000, 'x'), plain) + frames::close(1001, "", plain);
  const std::string told = "T<a>I<p>T<" + std::string(70000, 'x') + ">C<1001 >";
  CHECK(frames::read_whole(good, websocket_side::client) == told);
  CHECK(frames::read_bytewise(good, websocket_side::client) == told);
  CHECK(frames::read_whole(text("a"), websocket_side::client) == "!1002");
}

TEST_CASE("frames: every close code is judged") {
  for (unsigned code = 0; code <= 65535; ++code) {
    const bool allowed =
        (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
    const std::string told = frames::read_whole(frames::close(code), websocket_side::server);
    if (told != (allowed ? "C<" + std::to_string(code) + " >" : "!1002"s)) FAIL(code << ": " << told);
  }
}

TEST_CASE("frames: a message is bounded, announced or not, in one frame or in many") {
  const auto read = [](const std::string& bytes) {
    const std::string told = frames::read_whole(bytes, websocket_side::server, 10);
    CHECK(frames::read_bytewise(bytes, websocket_side::server, 10) == told);
    return told;
  };
  CHECK(read(text("0123456789")) == "T<0123456789>");
  CHECK(read(text("0123456789a")) == "!1009");
  CHECK(read(text("", {.claims = 11})) == "!1009");  // at once
  CHECK(read(text("01234", open_ended) + frame(0, "56789")) == "T<0123456789>");
  CHECK(read(text("01234", open_ended) + frame(0, "56789", open_ended) + frame(0, "", open_ended)) == "...");
  CHECK(read(text("01234", open_ended) + frame(0, "", {.claims = 6})) == "!1009");
  CHECK(read(text("01234", open_ended) + frame(9, std::string(100, 'p')) + frame(0, "5")) ==
        "I<" + std::string(100, 'p') + ">T<012345>");
  CHECK(read(text("0123456789") + text("0123456789")) == "T<0123456789>T<0123456789>");
  CHECK(frames::read_whole(text(""), websocket_side::server, 0) == "T<>");
}

TEST_CASE("frames: what is refused needs no byte more than shows it") {
  const auto refused_after = [](const std::string& bytes) {
    frames::reader all(websocket_side::server, 100);
    std::size_t count = 0;
    while (count < bytes.size() && !all.is_over()) all.feed(bytes.substr(count++, 1));
    return all.is_over() ? count : 0;
  };
  CHECK(refused_after(text("xxxx", {.reserved = 1})) == 2);
  CHECK(refused_after(text("x", {.masked = false})) == 2);
  CHECK(refused_after(frame(2, "", {.claims = 100'000})) == 10);
  CHECK(refused_after(text("ab\xff" + std::string(50, 'x'))) == 6 + 3);
  CHECK(refused_after(text("a\xed\xa0\x80")) == 6 + 3);  // a surrogate shows in its second byte
}

TEST_CASE("UTF-8: every sequence of up to three bytes, and the borders of four") {
  using eventer::http::detail::is_utf8;
  const auto valid_to = [](unsigned code_point) {
    return code_point <= 0x10ffff && (code_point < 0xd800 || code_point > 0xdfff);
  };
  // By decoding: a sequence is right where encoding what it says gives it again.
  const auto by_decoding = [&](std::string_view bytes) {
    std::size_t i = 0;
    while (i < bytes.size()) {
      const unsigned lead = static_cast<unsigned char>(bytes[i]);
      const std::size_t count = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
      if (count == 0 || bytes.size() - i < count) return false;
      unsigned value = count == 1 ? lead : lead & (0xffu >> (count + 1));
      for (std::size_t k = 1; k < count; ++k) {
        const unsigned next = static_cast<unsigned char>(bytes[i + k]);
        if (next >> 6 != 2) return false;
        value = value << 6 | (next & 63);
      }
      const std::size_t needed = value < 0x80 ? 1 : value < 0x800 ? 2 : value < 0x10000 ? 3 : 4;
      if (needed != count || !valid_to(value)) return false;
      i += count;
    }
    return true;
  };
  std::size_t wrong = 0;
  std::string bytes;
  for (unsigned a = 0; a < 256; ++a) {
    bytes.assign(1, static_cast<char>(a));
    wrong += is_utf8(bytes) != by_decoding(bytes);
    for (unsigned b = 0; b < 256; ++b) {
      bytes.resize(1);
      bytes += static_cast<char>(b);
      wrong += is_utf8(bytes) != by_decoding(bytes);
      for (unsigned c = 0; c < 256; c += c % 64 < 62 && c % 64 > 1 ? 7 : 1) {
        bytes.resize(2);
        bytes += static_cast<char>(c);
        wrong += is_utf8(bytes) != by_decoding(bytes);
      }
    }
  }
  for (unsigned a = 0xee; a < 256; ++a)
    for (unsigned b = 0x7e; b < 0xc2; ++b)
      for (const unsigned c : {0x7fu, 0x80u, 0xbfu, 0xc0u})
        for (const unsigned d : {0x7fu, 0x80u, 0xbfu, 0xc0u}) {
          bytes = {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c), static_cast<char>(d)};
          wrong += is_utf8(bytes) != by_decoding(bytes);
        }
  CHECK(wrong == 0);
}

TEST_CASE("frames: what is sent is what the other side reads") {
  using eventer::http::detail::frame_sender;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{125}, std::size_t{126}, std::size_t{65535},
                                 std::size_t{65536}, std::size_t{300'000}}) {
    const std::string payload(size, 'p');
    const std::string told = "B<" + payload + ">";
    frame_sender<websocket_side::server> plain;
    std::string bytes;
    plain.begin(2, payload);
    CHECK(plain.append_head(bytes));
    CHECK(plain.ended());
    CHECK(bytes == frame(2, payload, {.masked = false}).substr(0, bytes.size()));
    CHECK(frames::read_whole(bytes + payload, websocket_side::client) == told);
    bytes.clear();
    frame_sender<websocket_side::client> one;
    one.begin(2, payload);
    int pieces = 0;
    for (; !one.ended(); ++pieces) CHECK(one.append_piece(bytes, 16 << 10));
    CHECK(pieces == static_cast<int>(std::max<std::size_t>(1, (size + (16 << 10) - 1) / (16 << 10))));
    CHECK(frames::read_whole(bytes, websocket_side::server) == told);
  }
}

TEST_CASE("frames: masks differ, and without random bytes nothing is sent") {
  using eventer::http::detail::frame_sender;
  std::vector<std::string> masks;
  frame_sender<websocket_side::client> one;
  for (int i = 0; i < 4; ++i) {
    std::string bytes;
    one.begin(1, "a");
    CHECK(one.append_piece(bytes, 100));
    masks.push_back(bytes.substr(2, 4));
  }
  CHECK_FALSE((masks[0] == masks[1] && masks[1] == masks[2] && masks[2] == masks[3]));
  eventer::syscalls::fault_hook = [](eventer::syscalls::call which) {
    return which == eventer::syscalls::call::getrandom ? ENOSYS : 0;
  };
  std::string bytes;
  one.begin(1, "a");
  const bool made = one.append_piece(bytes, 100);
  eventer::syscalls::fault_hook = nullptr;
  CHECK_FALSE(made);
  CHECK(bytes.empty());
}
