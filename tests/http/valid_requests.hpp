// Requests that look odd and are not, with what they say. Seeds of fuzzing, too.
#pragma once

#include <string>
#include <vector>

#include "request_parts.hpp"

namespace wire {

struct valid_request {
  std::string bytes;
  std::string requests;  // as wire::outcome has them
};

inline std::vector<valid_request> valid_requests() {
  return {
      {with_line("GET / HTTP/1.1"), "GET / @a|"},
      {with_line("GET / HTTP/1.0"), "GET / @a close|"},
      {with_line("GET / HTTP/1.2"), "GET / @a|"},
      {with_line("GET / HTTP/1.9"), "GET / @a|"},
      {"GET / HTTP/1.0\r\n\r\n", "GET / @ close|"},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / @|"},
      {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET / @ close|"},
      {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "POST / @ close <x>|"},
      {"POST / HTTP/1.0\r\nExpect: what\r\nContent-Length: 1\r\n\r\nx", "POST / @ close <x>|"},
      {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / @a|"},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / @|"},
      {"GET / HTTP/1.1\r\nhOST:a\r\n\r\n", "GET / @a|"},
      {with_host(" \t a:80 \t"), "GET / @a:80|"},
      {with_host("a:"), "GET / @a:|"},
      {with_host("[::1]:8080"), "GET / @[::1]:8080|"},
      {with_host("[::ffff:1.2.3.4]"), "GET / @[::ffff:1.2.3.4]|"},
      {with_host("1.2.3.4:65535"), "GET / @1.2.3.4:65535|"},
      {with_host("xn--a_b.%41~"), "GET / @xn--a_b.%41~|"},
      {with_line("OPTIONS * HTTP/1.1"), "OPTIONS * @a|"},
      {with_line("OPTIONS / HTTP/1.1"), "OPTIONS / @a|"},
      {with_line("get / HTTP/1.1"), "get / @a|"},
      {with_line("!#$%&'*+-.^_`|~ / HTTP/1.1"), "!#$%&'*+-.^_`|~ / @a|"},
      {with_line("GET //a/../%2F%00?a=b&c?d/e HTTP/1.1"), "GET //a/../%2F%00?a=b&c?d/e @a|"},
      {with_line("GET /\"<>\\^`{|}[] HTTP/1.1"), "GET /\"<>\\^`{|}[] @a|"},
      {with_line("GET http://b/c HTTP/1.1"), "GET http://b/c @b|"},
      {with_line("GET HTTPS://b:443?c HTTP/1.1"), "GET HTTPS://b:443?c @b:443|"},
      {with_line("GET http://[::1] HTTP/1.1"), "GET http://[::1] @[::1]|"},
      {with_fields("Content-Length: 0"), "POST / @a <>|"},
      {with_fields("Content-Length: 5") + "hello", "POST / @a <hello>|"},
      {with_fields("Content-Length: 00000000000000000000005") + "hello", "POST / @a <hello>|"},
      {with_fields("Content-Length:\t5 ") + "hello", "POST / @a <hello>|"},
      {with_fields("Transfer_Encoding: chunked"), "POST / @a|"},
      {with_fields("x:\r\nx: \t \r\nx: a\tb \xc3\xa4 \"\\\r\ny:z"), "POST / @a|"},
      {with_fields("x: y" + many_fields(98)), "POST / @a|"},
      {with_fields("Expect: 100-Continue\r\nContent-Length: 5") + "hello", "POST / @a continue <hello>|"},
      {with_fields("Expect: 100-continue\r\nContent-Length: 0"), "POST / @a <>|"},
      {with_fields("Expect: 100-continue"), "POST / @a|"},
      {with_fields("Connection: close"), "POST / @a close|"},
      {with_fields("Connection: x\r\nConnection: , CLOSE ,"), "POST / @a close|"},
      {with_fields("Connection: keep-alive, Upgrade\r\nUpgrade: websocket"), "POST / @a upgrade|"},
      {with_fields("Upgrade: websocket"), "POST / @a|"},
      {with_fields("Proxy-Connection: close"), "POST / @a|"},
      {with_chunks("0\r\n\r\n"), "POST / @a <>|"},
      {with_chunks("5\r\nhello\r\n0\r\n\r\n"), "POST / @a <hello>|"},
      {with_chunks("5\r\nhello\r\n1\r\n \r\n005\r\nworld\r\n000\r\n\r\n"), "POST / @a <hello world>|"},
      {with_chunks("a\r\n0\r\n\r\n12345\r\nA\r\n0123456789\r\n0\r\n\r\n"), "POST / @a <0\r\n\r\n123450123456789>|"},
      {with_chunks("0000000000000001\r\nx\r\n0\r\n\r\n"), "POST / @a <x>|"},
      {with_chunks("1;a;b=c;d=\"e;\\\"\t \xc3\xa4\";f=\"\"\r\nx\r\n0;last\r\n\r\n"), "POST / @a <x>|"},
      {with_chunks("1;" + std::string(255, 'a') + "\r\nx\r\n0\r\n\r\n"), "POST / @a <x>|"},
      {with_chunks("0\r\nHost: b\r\nContent-Length: 9\r\nConnection: close\r\nx:\r\n\r\n"), "POST / @a <>|"},
      {with_fields("Transfer-Encoding: \t Chunked \t") + "0\r\n\r\n", "POST / @a <>|"},
      // One behind the other.
      {with_fields("Content-Length: 5") + "hello" + with_host("b"), "POST / @a <hello>|GET / @b|"},
      {with_fields("Content-Length: 5") + "hello\r\n" + with_host("b"), "POST / @a <hello>|GET / @b|"},
      {with_chunks("1\r\nx\r\n0\r\n\r\n") + with_host("b"), "POST / @a <x>|GET / @b|"},
      {with_chunks("0\r\nx: y\r\n\r\n") + with_host("b"), "POST / @a <>|GET / @b|"},
      {with_host("a") + with_host("b") + with_host("c"), "GET / @a|GET / @b|GET / @c|"},
  };
}

}  // namespace wire
