// Requests as a server reads them, in whatever pieces they come: what is refused, what is not, and where the next one
// begins. What two servers understand differently lets one client speak in the name of another.
#include <string>
#include <vector>

#include "../catch.hpp"
#include "refused_chunks.hpp"
#include "refused_requests.hpp"
#include "valid_requests.hpp"
#include "wire_server.hpp"

using namespace std::string_literals;
using wire::outcome;
using wire::serve_bytewise;
using wire::serve_split;
using wire::serve_whole;

// Long ones are cut at each place near their ends, and here and there.
static std::vector<std::size_t> cuts(std::size_t size) {
  std::vector<std::size_t> all;
  for (std::size_t at = 1; at < size; ++at)
    if (at < 300 || size - at < 300 || at % 509 == 0) all.push_back(at);
  return all;
}
static void check_refused(const std::vector<wire::refused_request>& all) {
  for (const wire::refused_request& each : all) {
    CAPTURE(each.bytes.substr(0, 300), each.bytes.size());
    const outcome whole = serve_whole(each.bytes);
    CHECK(whole.status == each.status);
    CHECK(whole.requests == "");
    CHECK(serve_bytewise(each.bytes).status == each.status);
    for (const std::size_t at : cuts(each.bytes.size()))
      if (const outcome split = serve_split(each.bytes, at); split.status != each.status || split.requests != "") {
        CAPTURE(at);
        CHECK(split.status == each.status);
        CHECK(split.requests == "");
      }
  }
}

TEST_CASE("a malformed request line is refused, however it comes") { check_refused(wire::refused_lines()); }

TEST_CASE("malformed fields, and those by which requests are smuggled, are refused, however they come") {
  check_refused(wire::refused_fields());
}

TEST_CASE("malformed chunks and trailers are refused, however they come") { check_refused(wire::refused_chunks()); }

TEST_CASE("what looks odd and is not is understood, however it comes, and what follows is the next request") {
  for (const wire::valid_request& each : wire::valid_requests()) {
    CAPTURE(each.bytes);
    const outcome whole = serve_whole(each.bytes);
    CHECK(whole.status == 0);
    CHECK(whole.requests == each.requests);
    CHECK(whole.left == "");
    CHECK(serve_bytewise(each.bytes) == whole);
    for (const std::size_t at : cuts(each.bytes.size())) {
      CAPTURE(at);
      if (const outcome split = serve_split(each.bytes, at); !(split == whole)) CHECK(split.requests == whole.requests);
      CHECK(serve_split(each.bytes, at).left == "");
    }
    // Nothing of the next request belongs to this one: neither its bytes nor its mistakes.
    CHECK(serve_whole(each.bytes + "GET /next").left == "GET /next");
    CHECK(serve_whole(each.bytes + "GET /next").requests == each.requests);
    const outcome behind = serve_whole(each.bytes + "\x16");
    CHECK(behind.requests == each.requests);
    CHECK(behind.status == 400);
  }
}

TEST_CASE("no part of a request is a whole one") {
  for (const wire::valid_request& each : wire::valid_requests()) {
    CAPTURE(each.bytes);
    std::size_t size = 0;
    while (serve_whole({each.bytes.data(), size}).requests.empty()) ++size;  // of the first
    CHECK(each.requests.starts_with(serve_whole({each.bytes.data(), size}).requests));
    for (std::size_t part = 0; part < size; ++part) {
      const outcome so_far = serve_whole({each.bytes.data(), part});
      if (so_far.status != 0 || so_far.requests != "") FAIL_CHECK("refused or served at " << part);
    }
  }
}

TEST_CASE("what can't become a request is refused with the byte that shows it") {
  struct early {
    std::string begin;  // with the byte
    int status;
  };
  const early all[] = {{"\x16", 400},
                       {"\n", 400},
                       {"\r\n\r", 400},
                       {"GET@", 400},
                       {"GET /\x80", 400},
                       {"GET /\r\n", 400},
                       {"GET / HTTP/1.1\rX", 400},
                       {"GET / HTTP/2.0\r\n", 505},
                       {"PRI * HTTP/2.0\r\n", 400},
                       {"GET / HTTP/1.1\r\n ", 400},
                       {"GET / HTTP/1.1\r\nHost ", 400},
                       {"GET / HTTP/1.1\r\nHost: a\n", 400},
                       {"GET /" + std::string((8 << 10) - 5, 'x'), 414},
                       {"GET / HTTP/1.1\r\n" + std::string((16 << 10) - 16, 'x'), 431},
                       {wire::with_chunks("5 "), 400},
                       {wire::with_chunks("100001\r\n"), 413},
                       {wire::with_chunks("5\r\nhellox"), 400},
                       {wire::with_chunks("5;" + std::string(256, 'a')), 400}};
  for (const early& each : all) {
    CAPTURE(each.begin.substr(0, 100), each.begin.size());
    CHECK(serve_whole({each.begin.data(), each.begin.size() - 1}).status == 0);
    CHECK(serve_whole(each.begin).status == each.status);
    CHECK(serve_bytewise(each.begin + "and so on").fed == each.begin.size());
  }
}

TEST_CASE("the log says what was wrong") {
  struct reason {
    std::string bytes;
    const char* why;
  };
  const reason all[] = {
      {"\x16\x03\x01", "a TLS client, where TLS is not spoken"},
      {"PRI * HTTP/2.0\r\n\r\n", "an HTTP/2 client; HTTP/1.1 is spoken here"},
      {"GET /\r\n", "a request line without a version, as of HTTP/0.9, which is not served"},
      {"GET / HTTP/1.1\r\n\r\n", "no Host"},
      {wire::with_fields("x: y\r\n z"), "a header field folded into a second line"},
      {wire::with_fields("x : y"), "a blank in or behind a header field's name"},
      {wire::with_fields("Host: b"), "more than one Host"},
      {wire::with_fields("Content-Length: 1\r\nContent-Length: 2"),
       "a Content-Length that is repeated, is not one number, or comes with Transfer-Encoding"},
      {wire::with_fields("Content-Length: 1\r\nContent-Length: 1"), "more than one Content-Length"},
      {wire::with_fields("Content-Length: 1\r\nTransfer-Encoding: chunked"),
       "a Transfer-Encoding that goes on behind chunked, or comes with Content-Length"},
      {wire::with_fields("Transfer-Encoding: gzip\r\nContent-Length: 1"), "both Transfer-Encoding and Content-Length"},
      {wire::with_fields("Transfer-Encoding: chunked;a=b"), "chunked with parameters"},
      {wire::with_fields("Transfer-Encoding: gzip"), "a Transfer-Encoding that does not end with chunked"},
      {wire::with_fields("Connection: ?"), "a Connection or Proxy-Connection field that is no list of tokens"},
      {wire::with_chunks("5 \r\n"), "a chunk's size that is followed by neither its line's end nor an extension"}};
  for (const reason& each : all) {
    CAPTURE(each.bytes);
    CHECK(serve_whole(each.bytes).why == each.why);
  }
}

TEST_CASE("limits hold to the byte") {
  eventer::http::limits small{.request_line = 32, .header_bytes = 64, .header_count = 2, .body = 4};
  small.trailer_bytes = 8;
  struct edge {
    std::string bytes;
    int status;
  };
  const auto line = [](std::size_t size) {
    return "GET /" + std::string(size - 16, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  };
  const auto head = [](std::size_t size) {
    return "GET / HTTP/1.1\r\nHost: a\r\nx: " + std::string(size - 32, 'y') + "\r\n\r\n";
  };
  const std::string chunked = "POST / HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n";
  const edge all[] = {{line(32), 0},
                      {line(33), 414},
                      {"\r\n" + line(32), 0},
                      {"\r\n" + line(33), 414},
                      {head(64), 0},
                      {head(65), 431},
                      {"\r\n" + head(64), 0},
                      {"\r\n" + head(65), 431},
                      {"GET / HTTP/1.1\r\nHost: a\r\nx:\r\n\r\n", 0},
                      {"GET / HTTP/1.1\r\nHost: a\r\nx:\r\ny:\r\n\r\n", 431},
                      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", 0},
                      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", 413},
                      {chunked + "4\r\nabcd\r\n0\r\n\r\n", 0},
                      {chunked + "5\r\nabcde\r\n0\r\n\r\n", 413},
                      {chunked + "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 0},
                      {chunked + "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", 413},
                      {chunked + "2;\r\n", 400},
                      {chunked + "2;a\r\nab\r\n0\r\n\r\n", 0},
                      {chunked + "2;ab\r\nab\r\n0\r\n\r\n", 413},
                      {chunked + "1;a\r\na\r\n0;a\r\n\r\n", 413},
                      {chunked + "0\r\na: b\r\n\r\n", 0},
                      {chunked + "0\r\na: bc\r\n\r\n", 431},
                      {chunked + "0\r\n\r\n", 0}};
  for (const edge& each : all) {
    CAPTURE(each.bytes);
    const outcome whole = serve_whole(each.bytes, small);
    CHECK(whole.status == each.status);
    CHECK(serve_bytewise(each.bytes, small).status == each.status);
    for (std::size_t at = 1; at < each.bytes.size(); ++at)
      CHECK(serve_split(each.bytes, at, small).status == each.status);
  }
}
