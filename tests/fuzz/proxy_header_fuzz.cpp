// Any bytes as the beginning of a connection: whole, bytewise and by the counts that the parser asks for they are the
// same header, or none.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "eventer/net/proxy_header.hpp"

static void must(bool holds) {
  if (!holds) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using status = eventer::proxy_header_state::status;
  eventer::proxy_header whole;
  const auto end = eventer::parse_proxy_header({data, size}, whole);
  must(end.what == status::malformed ? end.bytes == 0 : end.bytes > 0);
  must(end.what == status::complete ? whole.version != 0 : whole.version == 0 && !whole.names_addresses());
  if (end.what == status::complete) must(end.bytes <= size);

  eventer::proxy_header pieces;
  std::size_t taken = 0;
  auto state = eventer::parse_proxy_header({data, 0}, pieces);
  while (state.what == status::incomplete && taken + state.bytes <= size) {
    taken += state.bytes;
    state = eventer::parse_proxy_header({data, taken}, pieces);
  }
  if (end.what == status::complete) {
    must(state.what == status::complete && taken == end.bytes);  // not one byte beyond
    must(pieces.source == whole.source && pieces.destination == whole.destination);
    must(whole.source.to_string().size() < 200);
  }
  if (end.what == status::incomplete) must(state.what == status::incomplete);

  bool over = false;  // what is malformed stays so, what is complete too
  for (std::size_t length = 0; length <= size && length < 300; ++length) {
    eventer::proxy_header part;
    const auto so_far = eventer::parse_proxy_header({data, length}, part);
    must(!over || so_far.what != status::incomplete);
    over = so_far.what != status::incomplete;
    must(end.what != status::complete || length >= end.bytes || so_far.what == status::incomplete);
  }
  return 0;
}
