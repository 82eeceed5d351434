// Any bytes as what a client sends: served or refused in the same way however they are cut, and what is let through has
// one meaning only. With Boost's assertions on.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "../http/wire_server.hpp"

using eventer::http::limits;

static void must(bool holds) {
  if (!holds) std::abort();
}

// Cuts that the bytes themselves decide, so that a failure can be repeated.
static wire::outcome serve_pieces(std::string_view bytes, const limits& with) {
  wire::server one(with);
  std::uint32_t state = 2'166'136'261;
  for (const char byte : bytes) state = (state ^ static_cast<unsigned char>(byte)) * 16'777'619;
  for (std::size_t at = 0; at < bytes.size();) {
    state = state * 1'664'525 + 1'013'904'223;
    const std::size_t size = 1 + (state >> 16) % (state >> 30 == 0 ? 200 : 12);
    one.feed(bytes.substr(at, size));
    at += size;
  }
  return one.end();
}

// Refused ones agree in the status and in what was served before; of a refused body more or less may be left over.
static void must_agree(const wire::outcome& a, const wire::outcome& b) {
  must(a.status == b.status && a.why == b.why && a.requests == b.requests && a.heads == b.heads);
  must(a.status != 0 || a.left == b.left);
}

static bool contains(std::string_view text, std::string_view what) { return text.find(what) != std::string_view::npos; }

// A head in which the parser sees something else than the scanner was shown would be one that is read in two ways.
static void look_at(std::string_view bytes, const limits& with) {
  eventer::http::head_scanner scanner;
  eventer::http::request_head head;
  const auto scanned = scanner.scan(bytes, with);
  if (scanned != eventer::http::head_scanner::state::complete) {
    if (const auto why = head.parse(bytes, with)) must(why.why != nullptr && why.status >= 400);  // and no crash
    return;
  }
  const std::string_view found = bytes.substr(scanner.skipped(), scanner.size() - scanner.skipped());
  must(found.size() <= with.head_most() && found.ends_with("\r\n\r\n"));
  must(found.find("\r\n\r\n") == found.size() - 4);
  if (const auto why = head.parse(found, with)) return must(why.why != nullptr && why.status >= 400);
  must(head.field_count() <= with.header_count && head.minor_version() <= 9);
  std::size_t lines = 0, hosts = 0, lengths = 0, codings = 0;
  for (std::size_t at = found.find("\r\n"); at != std::string_view::npos; at = found.find("\r\n", at + 2)) ++lines;
  must(lines == head.field_count() + 2);
  for (std::size_t i = 0; i < head.field_count(); ++i) {
    const eventer::http::header_field each = head.field(i);
    must(!each.name.empty() && !contains(each.name, " ") && !contains(each.value, "\r") && !contains(each.value, "\n"));
    must(!contains(each.value, std::string_view("\0", 1)));
    must(each.name.data() >= found.data() && each.value.data() + each.value.size() <= found.data() + found.size());
    hosts += eventer::http::detail::equals_any_case(each.name, "host");
    lengths += eventer::http::detail::equals_any_case(each.name, "content-length");
    codings += eventer::http::detail::equals_any_case(each.name, "transfer-encoding");
  }
  must(hosts <= 1 && lengths <= 1 && codings <= 1 && lengths + codings <= 1);
  must(hosts == 1 || head.minor_version() == 0);
  must(codings == 0 || head.minor_version() > 0);
  using eventer::http::body_kind;
  must(head.body() == (codings == 1 ? body_kind::chunked : lengths == 1 ? body_kind::length : body_kind::none));
  if (codings == 1) must(eventer::http::detail::equals_any_case(*head.find("Transfer-Encoding"), "chunked"));
  if (lengths == 1) must(head.content_length() <= with.body);
  for (const char byte : head.target()) must(byte > ' ' && byte < '\x7f');
  must(head.path().starts_with('/') || (head.path() == "*" && head.method() == "OPTIONS"));
  must(!contains(head.host(), "@") && !contains(head.host(), "/") && !contains(head.path(), "?"));
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  limits small{.request_line = 40, .header_bytes = 120, .header_count = 3, .body = 20, .chunk_extension = 6};
  small.trailer_bytes = 12;
  for (const limits& with : {limits{}, small}) {
    const wire::outcome whole = wire::serve_whole(bytes, with);
    must_agree(whole, serve_pieces(bytes, with));
    must_agree(whole, wire::serve_bytewise(bytes, with));
    look_at(bytes, with);
  }
  return 0;
}
