// What the head of a server's answer says, where its body ends, and what no client should believe.
#include "eventer/http/answer_head.hpp"

#include <memory>
#include <string>
#include <vector>

#include "../catch.hpp"

using eventer::http::answer_head;
using eventer::http::answer_scanner;
using eventer::http::body_kind;
using eventer::http::limits;
using eventer::http::refusal;

namespace {

struct understood {
  refusal why;
  std::size_t size = 0;
  answer_head head;
};

// Scanned in pieces of this size; each time from memory that ends where the bytes do, for the sanitizers to see.
understood understand(std::string_view all, std::size_t piece, bool to_head = false, const limits& with = {}) {
  understood result;
  answer_scanner scanner;
  auto state = answer_scanner::state::incomplete;
  for (std::size_t came = 0; state == answer_scanner::state::incomplete && came < all.size();) {
    came = std::min(came + piece, all.size());
    const std::unique_ptr<char[]> exact(new char[came]);
    std::copy_n(all.data(), came, exact.get());
    state = scanner.scan({exact.get(), came}, with);
  }
  result.why = scanner.why();
  result.size = scanner.size();
  if (state == answer_scanner::state::complete) result.why = result.head.parse(all.substr(0, scanner.size()), to_head);
  return result;
}

}  // namespace

TEST_CASE("an ordinary answer's head is understood, however it comes") {
  const std::string all =
      "HTTP/1.1 404 Not Found\r\nServer: x\r\ncontent-LENGTH: 17\r\nKeep-Alive:timeout=5 \r\nEmpty:\r\n\r\nbody";
  for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{7}, all.size()}) {
    const auto got = understand(all, piece);
    REQUIRE_FALSE(got.why);
    CHECK(got.size == all.size() - 4);
    CHECK(got.head.status() == 404);
    CHECK(got.head.reason() == "Not Found");
    CHECK(got.head.field_count() == 4);
    CHECK(got.head.find("keep-alive") == "timeout=5");
    CHECK(got.head.find("empty") == "");
    CHECK_FALSE(got.head.find("x"));
    CHECK(got.head.body() == body_kind::length);
    CHECK(got.head.content_length() == 17);
    CHECK(got.head.keep_alive());
    CHECK_FALSE(got.head.is_interim());
  }
}

TEST_CASE("where an answer's body ends, and whether the connection can be used again") {
  struct row {
    std::string_view head;
    bool to_head;
    body_kind body;
    bool keep_alive;
  };
  const std::vector<row> rows = {
      {"HTTP/1.1 200 OK\r\n\r\n", false, body_kind::until_close, false},
      {"HTTP/1.1 200\r\n\r\n", false, body_kind::until_close, false},
      {"HTTP/1.1 200 \r\n\r\n", false, body_kind::until_close, false},
      {"HTTP/1.1 200 OK\r\n\r\n", true, body_kind::none, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, body_kind::none, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, body_kind::none, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false, body_kind::chunked, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, body_kind::length, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", false, body_kind::length, true},
      {"HTTP/1.1 204 No Content\r\n\r\n", false, body_kind::none, true},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, body_kind::none, true},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, body_kind::none, false},
      {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false, body_kind::none, false},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, body_kind::none, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\n", false, body_kind::length, false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: a, close\r\n\r\n", false, body_kind::length, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, body_kind::length, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", false, body_kind::length, true},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false, body_kind::until_close, false},
      {"HTTP/1.9 200 OK\r\nContent-Length: 5\r\n\r\n", false, body_kind::length, true},
      {"HTTP/1.1 100 Continue\r\n\r\n", false, body_kind::none, true},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", false, body_kind::none, true},
      {"HTTP/1.1 999 \xff\t!\r\nContent-Length: 1\r\n\r\n", false, body_kind::length, true},
  };
  for (const row& each : rows) {
    CAPTURE(each.head, each.to_head);
    for (const std::size_t piece : {std::size_t{1}, each.head.size()}) {
      const auto got = understand(each.head, piece, each.to_head);
      CAPTURE(got.why.why == nullptr ? "" : got.why.why);
      REQUIRE_FALSE(got.why);
      CHECK(got.head.body() == each.body);
      CHECK(got.head.keep_alive() == each.keep_alive);
    }
  }
  CHECK(understand(rows[20].head, 99).head.is_interim());
  CHECK_FALSE(understand(rows[21].head, 99).head.is_interim());
}

TEST_CASE("what two readers could understand differently is refused, and with the same reason however it comes") {
  const std::vector<std::string> heads = {
      "HTTP/2 200 OK\r\n\r\n",
      "HTTP/2.0 200 OK\r\n\r\n",
      "http/1.1 200 OK\r\n\r\n",
      "ICY 200 OK\r\n\r\n",
      "SSH-2.0-OpenSSH\r\n",
      "\r\nHTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1  200 OK\r\n\r\n",
      "HTTP/1.1 20 OK\r\n\r\n",
      "HTTP/1.1 2000 OK\r\n\r\n",
      "HTTP/1.1 099 OK\r\n\r\n",
      "HTTP/1.1 2x0 OK\r\n\r\n",
      "HTTP/1.1\t200 OK\r\n\r\n",
      "HTTP/1.1 200\tOK\r\n\r\n",
      "HTTP/1. 200 OK\r\n\r\n",
      "HTTP/1.11 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\n\n",
      "HTTP/1.1 200 O\x01K\r\n\r\n",
      "HTTP/1.1 200 OK\rX\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
      "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
      "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nnocolon\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA: b\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
      "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
  };
  for (const std::string& each : heads) {
    CAPTURE(each);
    const auto whole = understand(each, each.size()), bytewise = understand(each, 1);
    CHECK(whole.why);
    CHECK(whole.why.status == bytewise.why.status);
    CHECK(whole.why.why == bytewise.why.why);
  }
}

TEST_CASE("a head beyond the limits is refused with the first byte that is too many") {
  const limits with{.header_bytes = 100, .header_count = 3};
  const std::string start = "HTTP/1.1 200 OK\r\n";
  const auto of_size = [&](std::size_t size) {
    return start + "A: " + std::string(size - start.size() - 7, 'x') + "\r\n\r\n";
  };
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}}) {
    CHECK_FALSE(understand(of_size(100), piece, false, with).why);
    CHECK(understand(of_size(101), piece, false, with).why.status == 431);
    CHECK(understand("HTTP/1.1 200 " + std::string(200, 'x'), piece, false, with).why.status == 431);
    CHECK_FALSE(understand(start + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n", piece, false, with).why);
    CHECK(understand(start + "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", piece, false, with).why.status == 431);
  }
}

TEST_CASE("more fields than most answers have are all there, also when the head moves") {
  std::string all = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 60; ++i) all.append("F").append(std::to_string(i)).append(": v\r\n");
  all += "\r\n";
  answer_head head;
  REQUIRE_FALSE(head.parse(all, false));
  const std::string moved = all;
  head.rebase(moved.data());
  REQUIRE(head.field_count() == 60);
  CHECK(head.field(59).name == "F59");
  CHECK(head.field(59).name.data() > moved.data());
  REQUIRE_FALSE(head.parse("HTTP/1.1 200 OK\r\n\r\n", false));
  CHECK(head.field_count() == 0);
}
