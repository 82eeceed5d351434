// Any bytes as what a server sends: understood or refused in the same way however they are cut, and what is let through
// has one meaning only. The first byte says whether a HEAD request is answered. And any bytes as a URL: what is
// understood is understood again in the same way, and so is what it is beside another one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "../http/wire_client.hpp"
#include "eventer/http/url.hpp"

using eventer::http::limits;
using eventer::http::url;

static void must(bool holds) {
  if (!holds) std::abort();
}

// `next_size` says how large the next piece is.
template <class F>
static wire::heard listen(std::string_view bytes, bool to_head, const limits& with, F&& next_size) {
  wire::listening_client one(with, to_head);
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, next_size());
    one.feed(piece);
    bytes.remove_prefix(piece.size());
  }
  return one.end();
}

static void look_at_answers(std::string_view bytes, bool to_head, const limits& with) {
  const wire::heard whole = listen(bytes, to_head, with, [&] { return bytes.size(); });
  const wire::heard bytewise = listen(bytes, to_head, with, [] { return std::size_t{1}; });
  std::uint32_t state = 2'166'136'261;
  for (const char byte : bytes) state = (state ^ static_cast<unsigned char>(byte)) * 16'777'619;
  const wire::heard cut = listen(bytes, to_head, with, [&] {
    state = state * 1'664'525 + 1'013'904'223;
    return std::size_t{1} + (state >> 16) % (state >> 30 == 0 ? 200 : 12);
  });
  for (const wire::heard* each : {&bytewise, &cut}) {
    must(each->status == whole.status && each->why == whole.why && each->answers == whole.answers &&
         each->heads == whole.heads);
    must(whole.status != 0 || each->left == whole.left);
  }
  // A head without a scan before it: refused, or understood, and no crash.
  eventer::http::answer_head head;
  if (const auto why = head.parse(bytes, to_head)) must(why.why != nullptr && why.status >= 400);
}

static void look_at_url(std::string_view bytes) {
  const auto found = url::parse(bytes);
  if (found) {
    must(found->target().starts_with('/') && !found->host().empty() && found->port() != 0);
    for (const char each : found->text()) must(each > ' ' && each < 0x7f);
    const auto again = url::parse(found->text());
    must(again && *again == *found && again->port() == found->port() && again->host() == found->host());
  }
  static const url base = *url::parse("http://a/b/c/d;p?q");
  if (const auto beside = base.resolve(bytes)) {
    const auto again = base.resolve(beside->text());
    must(again && *again == *beside);
    for (std::string_view rest = beside->path(); !rest.empty();) {
      const std::size_t end = rest.find('/', 1);
      const std::string_view segment = rest.substr(1, end == std::string_view::npos ? end : end - 1);
      must(segment != "." && segment != "..");
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
    }
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  look_at_answers(bytes, (data[0] & 1) != 0, {});
  look_at_answers(
      bytes, (data[0] & 1) != 0,
      {.header_bytes = 120, .header_count = 3, .body = UINT64_MAX, .chunk_extension = 4, .trailer_bytes = 20});
  look_at_url(bytes);
  return 0;
}
