// The PROXY protocol: headers as HAProxy's specification has them, whole and in pieces, and what is none.
#include "eventer/net/proxy_header.hpp"

#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../sockets.hpp"
#include "../virtual_run.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using eventer::endpoint;
using eventer::errc;
using eventer::parse_proxy_header;
using eventer::proxy_header;
using eventer::proxy_header_state;
using status = eventer::proxy_header_state::status;

// A version 2 header with this body, and the length that belongs to it.
static std::string block(unsigned command, unsigned family, const std::string& body) {
  std::string text("\r\n\r\n\0\r\nQUIT\n", 12);
  for (const unsigned each :
       {command, family, static_cast<unsigned>(body.size() >> 8), static_cast<unsigned>(body.size() & 255)})
    text += static_cast<char>(each);
  return text + body;
}
static std::string path(std::string text) {
  text.resize(108);
  return text;
}
static const std::string v4_addresses = "\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb"s;
static const std::string v6_addresses =
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"s + "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xdc\x04\x01\xbb"s;

struct good_header {
  std::string bytes;
  int version;
  const char *source, *destination;
};
static const char* const none = "(no address)";
static const std::vector<good_header>& good_headers() {
  static const std::vector<good_header> all = {
      {"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", 1, "192.0.2.1:56324", "192.0.2.2:443"},
      {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", 1, "0.0.0.0:0", "0.0.0.0:0"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 1, "255.255.255.255:65535",
       "255.255.255.255:65535"},
      {"PROXY TCP4 10.0.0.10 1.1.1.1 1 12345\r\n", 1, "10.0.0.10:1", "1.1.1.1:12345"},
      {"PROXY TCP6 :: :: 0 0\r\n", 1, "[::]:0", "[::]:0"},
      {"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 56324 443\r\n", 1, "[2001:db8::1]:56324", "[::ffff:192.0.2.2]:443"},
      {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 1,
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
      {"PROXY UNKNOWN\r\n", 1, none, none},
      {"PROXY UNKNOWN \r\n", 1, none, none},
      {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", 1, none, none},
      {"PROXY UNKNOWN " + std::string(107 - 16, 'x') + "\r\n", 1, none, none},  // the longest
      {block(0x21, 0x11, v4_addresses), 2, "192.0.2.1:56324", "192.0.2.2:443"},
      {block(0x21, 0x12, v4_addresses), 2, "192.0.2.1:56324", "192.0.2.2:443"},
      {block(0x21, 0x21, v6_addresses), 2, "[2001:db8::1]:56324", "[2001:db8::2]:443"},
      {block(0x21, 0x22, v6_addresses), 2, "[2001:db8::1]:56324", "[2001:db8::2]:443"},
      {block(0x21, 0x31, path("/run/a") + path("\0b"s)), 2, "unix:/run/a", "unix:@b"},
      {block(0x21, 0x32, path("") + path(std::string(108, 'x'))), 2, "unix:", nullptr},
      {block(0x21, 0x00, ""), 2, none, none},
      {block(0x21, 0x00, "\x04\0\x02zz"s), 2, none, none},
      {block(0x20, 0x00, ""), 2, none, none},
      {block(0x20, 0x11, v4_addresses), 2, none, none},
      {block(0x20, 0x11, "anything"), 2, none, none},  // LOCAL: skipped, whatever it is
      {block(0x21, 0x11, v4_addresses + "\x04\0\0"s), 2, "192.0.2.1:56324", "192.0.2.2:443"},
      {block(0x21, 0x11, v4_addresses + "\x01\0\x02h2\xea\0\x01x"s), 2, "192.0.2.1:56324", "192.0.2.2:443"},
      {block(0x21, 0x11, v4_addresses + "\x04\x0f\xf1"s + std::string(0xff1, '\0')), 2, "192.0.2.1:56324",
       "192.0.2.2:443"},  // the longest
  };
  return all;
}
static void check_is(const proxy_header& header, const good_header& expected) {
  CHECK(header.version == expected.version);
  CHECK(header.source.to_string() == expected.source);
  if (expected.destination != nullptr) CHECK(header.destination.to_string() == expected.destination);
  CHECK(header.names_addresses() == (expected.source != std::string(none)));
}

TEST_CASE("a whole header is understood, whatever follows it") {
  for (const good_header& each : good_headers()) {
    for (const std::string& behind : {""s, "G"s, "\r\n"s, "PROXY UNKNOWN\r\n"s, std::string(5000, '\xff')}) {
      CAPTURE(each.bytes, behind.size());
      proxy_header header;
      const proxy_header_state state = parse_proxy_header(each.bytes + behind, header);
      REQUIRE(state.what == status::complete);
      CHECK(state.bytes == each.bytes.size());
      check_is(header, each);
    }
  }
}

TEST_CASE("of each beginning of a header it is known how much more belongs to it for certain") {
  for (const good_header& each : good_headers()) {
    CAPTURE(each.bytes);
    for (std::size_t size = 0; size < each.bytes.size(); ++size) {
      proxy_header header;
      const proxy_header_state state = parse_proxy_header({each.bytes.data(), size}, header);
      REQUIRE(state.what == status::incomplete);
      CHECK(state.bytes >= 1);
      CHECK(size + state.bytes <= each.bytes.size());
      CHECK(header.version == 0);  // untouched
    }
  }
}

TEST_CASE("a header is read with few reads") {
  for (const good_header& each : good_headers()) {
    CAPTURE(each.bytes);
    if (each.bytes.starts_with("PROXY UNKNOWN ")) continue;  // two bytes at a time: nothing is known of its length
    proxy_header header;
    std::size_t size = 0;
    int reads = 0;
    for (; size < each.bytes.size(); ++reads) size += parse_proxy_header({each.bytes.data(), size}, header).bytes;
    CHECK(reads <= (each.version == 2 ? 3 : each.bytes.size() < 60 ? 8 : 16));
  }
}

static std::vector<std::string> bad_headers() {
  const std::string v4 = v4_addresses;
  std::vector<std::string> all = {
      "G",
      "GET / HTTP/1.1\r\n",
      "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY\r\n",
      "PROXY \r\n",
      "PROXY TCP4\r\n",
      "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY\tTCP4 1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
      "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2  1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
      "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.02 1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 00\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
      "PROXY TCP4 1.1.1.1 2.2.2.2 0x1 2\r\n",
      "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
      "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
      "PROXY TCP4 host 2.2.2.2 1 2\r\n",
      "PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n"s,
      "PROXY TCP4 ::1 ::2 1 2\r\n",
      "PROXY TCP4 ::ffff:1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
      "PROXY TCP6 ::1 1.1.1.1 1 2\r\n",
      "PROXY TCP6 fe80::1%1 ::2 1 2\r\n",
      "PROXY TCP6 [::1] ::2 1 2\r\n",
      "PROXY TCP6 ::g ::2 1 2\r\n",
      "PROXY TCP6 ::1 ::2 1 2 \r\n",
      "PROXY UNKNOWNX\r\n",
      "PROXY UNKNOWN" + std::string(94, ' ') + "\r\n",
      std::string("PROXY TCP4 ") + std::string(200, '1'),
      block(0x22, 0x11, v4),
      block(0x11, 0x11, v4),
      block(0x01, 0x11, v4),
      block(0x2f, 0x11, v4),
      block(0x21, 0x10, v4),
      block(0x21, 0x13, v4),
      block(0x21, 0x01, v4),
      block(0x21, 0x41, v4),
      block(0x21, 0xff, v4),
      block(0x20, 0x41, v4),
      block(0x21, 0x11, ""),
      block(0x21, 0x11, v4.substr(1)),
      block(0x21, 0x21, v4),
      block(0x21, 0x31, path("/x")),
      block(0x21, 0x11, v4 + "\x04"),
      block(0x21, 0x11, v4 + "\x04\0"s),
      block(0x21, 0x11, v4 + "\x04\0\x01"s),
      block(0x21, 0x11, v4 + "\x04\xff\xff"s),
      block(0x21, 0x00, "\x04\0\x05zz"s),
      block(0x21, 0x11, v4 + std::string(4085, '\0')),
      block(0x20, 0x00, std::string(65535, '\0')),
  };
  for (std::size_t i = 0; i < 12; ++i) {  // a signature that is almost one
    all.push_back(block(0x21, 0x11, v4));
    all.back()[i] = static_cast<char>(all.back()[i] ^ 0x20);
  }
  return all;
}

TEST_CASE("what is no header is refused, whole or bytewise, and leaves no address behind") {
  for (const std::string& bytes : bad_headers()) {
    CAPTURE(bytes);
    proxy_header header;
    CHECK(parse_proxy_header(bytes, header).what == status::malformed);
    proxy_header_state state;
    for (std::size_t size = 0; size <= bytes.size() && state.what == status::incomplete; ++size)
      state = parse_proxy_header({bytes.data(), size}, header);
    CHECK(state.what == status::malformed);
    CHECK(state.bytes == 0);
    CHECK(header.version == 0);
    CHECK_FALSE(header.names_addresses());
  }
}

TEST_CASE("what can be no header is refused at its first wrong byte, not when enough bytes have come") {
  for (const std::string& bytes :
       {"G"s, "PROXY X"s, "PROXY TCP7"s, "\r\n\r\nX"s, "\r\n\r\n\0\r\nQUIT\n\x31"s, "PROXY UNKNOWN\n"s}) {
    CAPTURE(bytes);
    proxy_header header;
    CHECK(parse_proxy_header(bytes, header).what == status::malformed);
    CHECK(parse_proxy_header(bytes.substr(0, bytes.size() - 1), header).what == status::incomplete);
  }
}

TEST_CASE("over a socket a header is read with not one byte of what follows, split wherever it may be") {
  eventer::run([] {
    for (const good_header& each : good_headers()) {
      CAPTURE(each.bytes);
      const std::size_t step = each.bytes.size() < 120 ? 1 : 37;
      auto [server, client] = connected_to_plain_peer();
      for (std::size_t split = 0; split <= each.bytes.size(); split += step) {
        plain_send(client, std::string_view(each.bytes).substr(0, split));
        auto rest = eventer::spawn([&each, split, fd = client.get()] {
          next_turn();  // the reader waits by now
          const std::string text = each.bytes.substr(split) + "GET";
          (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        });
        const auto header = eventer::read_proxy_header(server, 5s);
        rest.join();
        REQUIRE(header.has_value());
        check_is(*header, each);
        std::string behind(3, ' ');
        REQUIRE(server.read_exact(behind, 5s).has_value());
        REQUIRE(behind == "GET");
      }
    }
  });
}

TEST_CASE("a header comes through pieces of every size, pipes and unix sockets") {
  run_virtually([] {
    for (std::uint64_t seed = 1; seed <= 5; ++seed)
      for (const good_header& each : good_headers()) {
        CAPTURE(each.bytes, seed);
        auto pair = eventer::memory_stream_pair(
            {.seed = seed, .short_reads = 60, .short_writes = 60, .would_blocks = 30, .latency = 1ms});
        auto writer = eventer::spawn([&each, client = std::move(pair.far)]() mutable {
          const std::string text = each.bytes + "GET";
          (void)client.write_all(text);
          eventer::sleep_for(1min);  // an end that closes with the other's bytes unread would reset
        });
        const auto header = eventer::read_proxy_header(pair.near, 1h);
        REQUIRE(header.has_value());
        check_is(*header, each);
        std::string behind(3, ' ');
        REQUIRE(pair.near.read_exact(behind, 1h).has_value());
        CHECK(behind == "GET");
        writer.join();
      }
  });
  eventer::run([] {
    const good_header& each = good_headers().front();
    auto pipe = adopted_pipe();
    (void)pipe.writer.write_all(each.bytes + "GET");
    check_is(eventer::read_proxy_header(pipe.reader).value(), each);
    CHECK(read_text(pipe.reader) == "GET");
    auto local = adopted_pair();
    (void)local.client.write_all(each.bytes + "GET");
    check_is(eventer::read_proxy_header(local.server).value(), each);
    CHECK(read_text(local.server) == "GET");
  });
}

TEST_CASE("who sends no header, half a header or nothing at all is told apart") {
  eventer::run([] {
    auto [http, http_client] = connected_to_plain_peer();
    plain_send(http_client, "GET");  // and waits for an answer
    const auto refused = eventer::read_proxy_header(http);
    CHECK(refused.error() == errc::bad_proxy_header);
    CHECK(refused.error() == std::errc::protocol_error);
    auto [half, half_client] = connected_to_plain_peer();
    plain_send(half_client, "PROXY TCP4 1.1.1.1 2.2");
    ::shutdown(half_client.get(), SHUT_WR);
    CHECK(eventer::read_proxy_header(half).error() == errc::end_of_stream);
    eventer::tcp_stream closed;
    CHECK(eventer::read_proxy_header(closed).error() == errc::closed);
  });
}

TEST_CASE("the time limit is for the whole header, however slowly it trickles") {
  run_virtually([] {
    auto pair = eventer::memory_stream_pair({.latency = 1ms});
    auto writer = eventer::spawn([client = std::move(pair.far)]() mutable {
      for (const char each : "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"s) {
        if (!client.write_all({&each, 1})) return;
        eventer::sleep_for(1s);
      }
    });
    const auto begin = eventer::event_loop::current().now();
    CHECK(eventer::read_proxy_header(pair.near, 10s).error() == errc::timed_out);
    CHECK(eventer::event_loop::current().now() - begin == 10s);
    writer.cancel();
    (void)writer.try_join();
  });
}
