// Section 0.3 of eventer_aco.h: mtev_hash_table, over the standard library's hash table.
//
// The table holds pointers only: keys and values are the program's. A free function is called when the entry is out of
// the table and the count is right, so that it may use the table.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "eventer/compat/detail/needing_memory.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

struct hash_entry {
  // Mutable: another key of the same bytes may take this one's place.
  mutable const void* key;
  std::size_t size;
  mutable void* value;

  std::string_view bytes() const noexcept { return {static_cast<const char*>(key), size}; }
  bool operator==(const hash_entry& other) const noexcept { return bytes() == other.bytes(); }
};
struct hash_of_entry {
  std::size_t operator()(const hash_entry& entry) const noexcept {
    return std::hash<std::string_view>()(entry.bytes());
  }
};
using hash_entries = std::unordered_set<hash_entry, hash_of_entry>;

// What an mtev_hash_iter has in its words: the entry that comes next, so that the present one may be deleted.
struct hash_position {
  hash_entries::const_iterator next;
  bool started;
};
static_assert(std::is_trivially_copyable_v<hash_position> && sizeof(hash_position) <= sizeof(mtev_hash_iter::impl));

inline hash_entries* entries_of(const mtev_hash_table* table) noexcept {
  return static_cast<hash_entries*>(table->impl);
}
// An entry without a value, to look for. A negative length: the key is a string.
inline hash_entry key_of(const void* key, int size) noexcept {
  return {key, size < 0 ? std::strlen(static_cast<const char*>(key)) : static_cast<std::size_t>(size), nullptr};
}
inline const hash_entry* entry_of(const mtev_hash_table* table, const void* key, int size) noexcept {
  const hash_entries* const all = entries_of(table);
  if (all == nullptr) return nullptr;
  const auto found = all->find(key_of(key, size));
  return found == all->end() ? nullptr : &*found;
}

// The entry of that key, put in with `value` if there was none, and whether it was put in.
inline std::pair<const hash_entry*, bool> put_entry(mtev_hash_table* table, const void* key, int size, void* value) {
  return needing_memory([&] {
    if (table->impl == nullptr) table->impl = new hash_entries();
    hash_entry fresh = key_of(key, size);
    fresh.value = value;
    const auto [place, added] = entries_of(table)->insert(fresh);
    table->count = entries_of(table)->size();
    return std::pair<const hash_entry*, bool>{&*place, added};
  });
}

inline void free_entry(const hash_entry& entry, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree) {
  if (keyfree != nullptr) keyfree(const_cast<void*>(entry.key));
  if (datafree != nullptr) datafree(entry.value);
}

// nullptr for nullptr; else `size` bytes and a NUL behind them, from malloc.
inline char* copied(const void* bytes, std::size_t size) noexcept {
  if (bytes == nullptr) return nullptr;
  char* const copy = static_cast<char*>(std::malloc(size + 1));
  if (copy == nullptr) mtevFatal(mtev_error, "out of memory\n");
  std::memcpy(copy, bytes, size);
  copy[size] = '\0';
  return copy;
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

void mtev_hash_init(mtev_hash_table* h) { *h = {}; }

void mtev_hash_init_size(mtev_hash_table* h, int) { *h = {}; }

int mtev_hash_store(mtev_hash_table* h, const void* k, int klen, void* data) {
  return eventer::compat::put_entry(h, k, klen, data).second ? 1 : 0;
}

int mtev_hash_set(mtev_hash_table* h, const void* k, int klen, void* data, char** oldkey, void** olddata) {
  const auto [entry, added] = eventer::compat::put_entry(h, k, klen, data);
  if (added) return 0;
  if (oldkey != nullptr) *oldkey = static_cast<char*>(const_cast<void*>(entry->key));
  if (olddata != nullptr) *olddata = entry->value;
  entry->key = k;
  entry->value = data;
  return 1;
}

int mtev_hash_replace(mtev_hash_table* h, const void* k, int klen, void* data, NoitHashFreeFunc keyfree,
                      NoitHashFreeFunc datafree) {
  char* old_key = nullptr;
  void* old_data = nullptr;
  if (mtev_hash_set(h, k, klen, data, &old_key, &old_data) == 0) return 1;
  // What stays in the table is not given away.
  if (keyfree != nullptr && old_key != k) keyfree(old_key);
  if (datafree != nullptr && old_data != data) datafree(old_data);
  return 1;
}

int mtev_hash_delete(mtev_hash_table* h, const void* k, int klen, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree) {
  eventer::compat::hash_entries* const all = eventer::compat::entries_of(h);
  if (all == nullptr) return 0;
  const auto found = all->find(eventer::compat::key_of(k, klen));
  if (found == all->end()) return 0;
  const eventer::compat::hash_entry entry = *found;
  all->erase(found);
  h->count = all->size();
  eventer::compat::free_entry(entry, keyfree, datafree);
  return 1;
}

void mtev_hash_destroy(mtev_hash_table* h, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree) {
  eventer::compat::hash_entries* const all = eventer::compat::entries_of(h);
  *h = {};
  if (all == nullptr) return;
  // The set looks at no key while it is destroyed.
  for (const eventer::compat::hash_entry& each : *all) eventer::compat::free_entry(each, keyfree, datafree);
  delete all;
}

void mtev_hash_delete_all(mtev_hash_table* h, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree) {
  mtev_hash_destroy(h, keyfree, datafree);
}

int mtev_hash_retrieve(mtev_hash_table* h, const void* k, int klen, void** out) {
  const eventer::compat::hash_entry* const entry = eventer::compat::entry_of(h, k, klen);
  if (entry == nullptr) return 0;
  if (out != nullptr) *out = entry->value;
  return 1;
}

int mtev_hash_retr_str(mtev_hash_table* h, const void* k, int klen, const char** out) {
  const eventer::compat::hash_entry* const entry = eventer::compat::entry_of(h, k, klen);
  if (entry == nullptr) return 0;
  if (out != nullptr) *out = static_cast<const char*>(entry->value);
  return 1;
}

void* mtev_hash_get(mtev_hash_table* h, const void* k, int klen) {
  const eventer::compat::hash_entry* const entry = eventer::compat::entry_of(h, k, klen);
  return entry == nullptr ? nullptr : entry->value;
}

char* mtev_hash_dict_get_(mtev_hash_table* h, const char* k, int klen) {
  return static_cast<char*>(mtev_hash_get(h, k, klen));
}

int mtev_hash_size(mtev_hash_table* h) { return static_cast<int>(h->count); }

int mtev_hash_adv(const mtev_hash_table* h, mtev_hash_iter* it) {
  const eventer::compat::hash_entries* const all = eventer::compat::entries_of(h);
  if (all == nullptr) return 0;
  eventer::compat::hash_position position{};
  std::memcpy(&position, it->impl, sizeof position);
  if (!position.started) position = {all->begin(), true};
  if (position.next == all->end()) return 0;
  const eventer::compat::hash_entry& entry = *position.next++;
  std::memcpy(it->impl, &position, sizeof position);
  it->key.ptr = entry.key;
  it->klen = static_cast<int>(entry.size);
  it->value.ptr = entry.value;
  return 1;
}

int mtev_hash_next(const mtev_hash_table* h, mtev_hash_iter* it, const char** k, int* klen, void** data) {
  if (mtev_hash_adv(h, it) == 0) return 0;
  if (k != nullptr) *k = it->key.str;
  if (klen != nullptr) *klen = it->klen;
  if (data != nullptr) *data = it->value.ptr;
  return 1;
}

int mtev_hash_next_str(const mtev_hash_table* h, mtev_hash_iter* it, const char** k, int* klen, const char** v) {
  void* value = nullptr;
  if (mtev_hash_next(h, it, k, klen, &value) == 0) return 0;
  if (v != nullptr) *v = static_cast<const char*>(value);
  return 1;
}

void mtev_hash_merge_as_dict(mtev_hash_table* dst, mtev_hash_table* src) {
  if (dst == src) return;
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
  while (mtev_hash_adv(src, &it) != 0) {
    const std::size_t size = it.value.str == nullptr ? 0 : std::strlen(it.value.str);
    mtev_hash_replace(dst, eventer::compat::copied(it.key.ptr, static_cast<std::size_t>(it.klen)), it.klen,
                      eventer::compat::copied(it.value.ptr, size), std::free, std::free);
  }
}

}  // extern "C"
