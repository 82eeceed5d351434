// mtev_hash_table against the standard library's map, and who gets which key and value.
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/base/config.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/context/sanitizer.hpp"

namespace {

std::vector<void*> freed;
void note_freed(void* what) { freed.push_back(what); }

std::map<std::string, std::string> contents(const mtev_hash_table& table) {
  std::map<std::string, std::string> all;
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
  while (mtev_hash_adv(&table, &it) != 0) {
    const bool fresh = all.emplace(std::string(it.key.str, static_cast<std::size_t>(it.klen)), it.value.str).second;
    CHECK(fresh);
  }
  CHECK(all.size() == table.count);
  return all;
}

char key[] = "key";
char same_key[] = "key";
char value[] = "value";
char other_value[] = "other";

}  // namespace

TEST_CASE("a table of zeros is empty, and so is one that was initialised") {
  mtev_hash_table zero = MTEV_HASH_EMPTY;
  mtev_hash_table initialised;
  std::memset(static_cast<void*>(&initialised), 0x5a, sizeof initialised);
  mtev_hash_init(&initialised);
  mtev_hash_table sized;
  std::memset(static_cast<void*>(&sized), 0x5a, sizeof sized);
  mtev_hash_init_size(&sized, MTEV_HASH_DEFAULT_SIZE);
  for (mtev_hash_table* const table : {&zero, &initialised, &sized}) {
    mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
    CHECK(mtev_hash_size(table) == 0);
    CHECK(mtev_hash_adv(table, &it) == 0);
    CHECK(mtev_hash_retrieve(table, "x", 1, nullptr) == 0);
    CHECK(mtev_hash_get(table, "x", 1) == nullptr);
    CHECK(mtev_hash_delete(table, "x", 1, nullptr, nullptr) == 0);
    mtev_hash_delete_all(table, &note_freed, &note_freed);
    mtev_hash_destroy(table, &note_freed, &note_freed);
  }
  CHECK(freed.empty());
}

TEST_CASE("what is stored is found by its bytes, whatever they are") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  CHECK(mtev_hash_store(&table, key, 3, value) == 1);
  CHECK(mtev_hash_store(&table, "a\0b", 3, other_value) == 1);
  CHECK(mtev_hash_store(&table, "a\0c", 3, nullptr) == 1);
  CHECK(mtev_hash_store(&table, "", 0, value) == 1);
  CHECK(mtev_hash_size(&table) == 4);
  CHECK(table.count == 4);
  void* found = nullptr;
  CHECK(mtev_hash_retrieve(&table, same_key, 3, &found) == 1);
  CHECK(found == value);
  CHECK(mtev_hash_retrieve(&table, "a\0b", 3, &found) == 1);
  CHECK(found == other_value);
  CHECK(mtev_hash_retrieve(&table, "a\0c", 3, &found) == 1);
  CHECK(found == nullptr);
  CHECK(mtev_hash_retrieve(&table, "", 0, &found) == 1);
  CHECK(mtev_hash_retrieve(&table, nullptr, 0, &found) == 1);
  CHECK(mtev_hash_retrieve(&table, "key", 2, &found) == 0);
  CHECK(mtev_hash_retrieve(&table, "key", 4, &found) == 0);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("a negative length is a string's") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  CHECK(mtev_hash_store(&table, key, -1, value) == 1);
  CHECK(mtev_hash_get(&table, "key", 3) == value);
  CHECK(mtev_hash_get(&table, "key", -1) == value);
  CHECK(mtev_hash_delete(&table, "key", -1, nullptr, nullptr) == 1);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("each way to look something up gives the same") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  mtev_hash_store(&table, key, 3, value);
  const char* text = nullptr;
  void* pointer = nullptr;
  CHECK(mtev_hash_retr_str(&table, "key", 3, &text) == 1);
  CHECK(mtev_hash_retrieve(&table, "key", 3, &pointer) == 1);
  CHECK(text == value);
  CHECK(pointer == value);
  CHECK(mtev_hash_get(&table, "key", 3) == value);
  CHECK(mtev_hash_dict_get(&table, "key") == value);
  CHECK(mtev_hash_dict_get(&table, "ke") == nullptr);
  CHECK(mtev_hash_retr_str(&table, "key", 3, nullptr) == 1);
  CHECK(mtev_hash_retrieve(&table, "key", 3, nullptr) == 1);
  CHECK(mtev_hash_retr_str(&table, "none", 4, &text) == 0);
  CHECK(text == value);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("store does not touch what is there") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  CHECK(mtev_hash_store(&table, key, 3, value) == 1);
  CHECK(mtev_hash_store(&table, same_key, 3, other_value) == 0);
  CHECK(table.count == 1);
  CHECK(mtev_hash_get(&table, key, 3) == value);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("replace gives the former key and value to the functions, but for what it puts in again") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  freed.clear();
  CHECK(mtev_hash_replace(&table, key, 3, value, &note_freed, &note_freed) == 1);
  CHECK(freed.empty());
  CHECK(mtev_hash_replace(&table, same_key, 3, other_value, &note_freed, &note_freed) == 1);
  CHECK(freed == std::vector<void*>{key, value});
  CHECK(table.count == 1);
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
  REQUIRE(mtev_hash_adv(&table, &it) == 1);
  CHECK(it.key.str == same_key);
  CHECK(it.value.str == other_value);
  CHECK(mtev_hash_replace(&table, same_key, 3, other_value, &note_freed, &note_freed) == 1);
  CHECK(mtev_hash_replace(&table, key, 3, value, nullptr, nullptr) == 1);
  CHECK(freed.size() == 2);
  mtev_hash_destroy(&table, nullptr, nullptr);
  freed.clear();
}

TEST_CASE("set gives the former key and value to the caller") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  char* old_key = nullptr;
  void* old_value = nullptr;
  CHECK(mtev_hash_set(&table, key, 3, value, &old_key, &old_value) == 0);
  CHECK(old_key == nullptr);
  CHECK(mtev_hash_set(&table, same_key, 3, other_value, &old_key, &old_value) == 1);
  CHECK(old_key == key);
  CHECK(old_value == value);
  CHECK(mtev_hash_set(&table, key, 3, value, nullptr, nullptr) == 1);
  CHECK(mtev_hash_get(&table, key, 3) == value);
  CHECK(table.count == 1);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("delete, delete_all and destroy give keys and values to the functions, once each") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  char keys[3][2] = {"a", "b", "c"};
  char values[3][2] = {"1", "2", "3"};
  const auto fill = [&] {
    freed.clear();
    for (int i = 0; i < 3; ++i) mtev_hash_store(&table, keys[i], 1, values[i]);
  };
  const std::set<void*> everything{keys[0], keys[1], keys[2], values[0], values[1], values[2]};
  fill();
  CHECK(mtev_hash_delete(&table, "b", 1, &note_freed, &note_freed) == 1);
  CHECK(mtev_hash_delete(&table, "b", 1, &note_freed, &note_freed) == 0);
  CHECK(freed == std::vector<void*>{keys[1], values[1]});
  CHECK(table.count == 2);
  fill();
  mtev_hash_delete_all(&table, &note_freed, &note_freed);
  CHECK(std::set<void*>(freed.begin(), freed.end()) == everything);
  CHECK(freed.size() == 6);
  CHECK(table.count == 0);
  fill();
  mtev_hash_destroy(&table, nullptr, &note_freed);
  CHECK(freed.size() == 3);
  CHECK(table.count == 0);
  CHECK(table.impl == nullptr);
  fill();
  CHECK(table.count == 3);
  mtev_hash_destroy(&table, nullptr, nullptr);
  CHECK(freed.empty());
}

TEST_CASE("a free function may use the table") {
  static mtev_hash_table table = MTEV_HASH_EMPTY;
  mtev_hash_store(&table, key, 3, value);
  const auto look = [](void*) {
    CHECK(mtev_hash_get(&table, "key", 3) == nullptr);
    CHECK(table.count == 0);
    CHECK(mtev_hash_store(&table, "again", 5, value) == 1);
  };
  mtev_hash_delete(&table, "key", 3, nullptr, look);
  CHECK(table.count == 1);
  mtev_hash_delete(&table, "again", 5, nullptr, nullptr);
  mtev_hash_store(&table, key, 3, value);
  mtev_hash_destroy(&table, nullptr, look);
  CHECK(table.count == 1);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("keys that are freed while the table is destroyed are not looked at") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  for (int i = 0; i < 1000; ++i) {
    char* const own = ::strdup(std::to_string(i).c_str());
    mtev_hash_store(&table, own, -1, ::strdup("value"));
  }
  mtev_hash_delete_all(&table, &std::free, &std::free);
  CHECK(table.count == 0);
}

TEST_CASE("an iterator stays at the end, and the older spellings give the same") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  mtev_hash_store(&table, key, 3, value);
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
  CHECK(mtev_hash_adv(&table, &it) == 1);
  CHECK(it.klen == 3);
  CHECK(mtev_hash_adv(&table, &it) == 0);
  CHECK(mtev_hash_adv(&table, &it) == 0);
  it = MTEV_HASH_ITER_ZERO;
  const char* found_key = nullptr;
  int length = 0;
  void* found = nullptr;
  CHECK(mtev_hash_next(&table, &it, &found_key, &length, &found) == 1);
  CHECK(found_key == key);
  CHECK(length == 3);
  CHECK(found == value);
  CHECK(mtev_hash_next(&table, &it, &found_key, &length, &found) == 0);
  it = MTEV_HASH_ITER_ZERO;
  const char* text = nullptr;
  CHECK(mtev_hash_next_str(&table, &it, nullptr, nullptr, &text) == 1);
  CHECK(text == value);
  CHECK(mtev_hash_next_str(&table, &it, nullptr, nullptr, &text) == 0);
  mtev_hash_destroy(&table, nullptr, nullptr);
}

TEST_CASE("the entry that an iterator is at may be deleted or replaced") {
  mtev_hash_table table = MTEV_HASH_EMPTY;
  for (int i = 0; i < 500; ++i) {
    char* const own = ::strdup(std::to_string(i).c_str());
    mtev_hash_store(&table, own, -1, ::strdup("x"));
  }
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
  int seen = 0;
  while (mtev_hash_adv(&table, &it) != 0) {
    const int number = std::atoi(it.key.str);
    if (++seen; number % 2 == 0)
      CHECK(mtev_hash_delete(&table, it.key.str, it.klen, &std::free, &std::free) == 1);
    else
      mtev_hash_replace(&table, ::strdup(it.key.str), it.klen, ::strdup("y"), &std::free, &std::free);
  }
  CHECK(seen == 500);
  CHECK(table.count == 250);
  for (const auto& [each, text] : contents(table)) {
    CHECK(std::atoi(each.c_str()) % 2 == 1);
    CHECK(text == "y");
  }
  mtev_hash_destroy(&table, &std::free, &std::free);
}

TEST_CASE("merge_as_dict copies keys and values into the other table, over those that are there") {
  mtev_hash_table from = MTEV_HASH_EMPTY;
  mtev_hash_table to = MTEV_HASH_EMPTY;
  mtev_hash_store(&from, "a", 1, value);
  mtev_hash_store(&from, "b\0b", 3, other_value);
  mtev_hash_store(&from, "n", 1, nullptr);
  mtev_hash_store(&to, ::strdup("a"), 1, ::strdup("former"));
  mtev_hash_store(&to, ::strdup("c"), 1, ::strdup("stays"));
  mtev_hash_merge_as_dict(&to, &from);
  mtev_hash_merge_as_dict(&to, &to);
  CHECK(mtev_hash_dict_get(&to, "n") == nullptr);
  CHECK(mtev_hash_delete(&to, "n", 1, &std::free, &std::free) == 1);
  CHECK(contents(to) ==
        std::map<std::string, std::string>{{"a", "value"}, {std::string("b\0b", 3), "other"}, {"c", "stays"}});
  CHECK(mtev_hash_dict_get(&to, "a") != value);
  CHECK(from.count == 3);
  mtev_hash_destroy(&to, &std::free, &std::free);
  mtev_hash_destroy(&from, nullptr, nullptr);
}

TEST_CASE("a table does what the standard library's map does, step by step") {
  std::mt19937 random(7);
  std::map<std::string, std::string> model;
  mtev_hash_table table = MTEV_HASH_EMPTY;
  const auto copy = [](const std::string& text) { return ::strdup(text.c_str()); };
  for (int step = 0; step < 20000; ++step) {
    const std::string name = std::to_string(random() % 300);
    const std::string text = std::to_string(step);
    switch (random() % 4) {
      case 0: {
        char* const own = copy(name);
        char* const data = copy(text);
        const bool stored = mtev_hash_store(&table, own, -1, data) == 1;
        if (stored != model.emplace(name, text).second) FAIL("store at step " << step);
        if (!stored) {
          std::free(own);
          std::free(data);
        }
        break;
      }
      case 1:
        mtev_hash_replace(&table, copy(name), -1, copy(text), &std::free, &std::free);
        model[name] = text;
        break;
      case 2: {
        const bool deleted = mtev_hash_delete(&table, name.c_str(), -1, &std::free, &std::free) == 1;
        if (deleted != (model.erase(name) == 1)) FAIL("delete at step " << step);
        break;
      }
      default: {
        const char* found = nullptr;
        const bool there = mtev_hash_retr_str(&table, name.c_str(), -1, &found) == 1;
        const auto expected = model.find(name);
        if (there != (expected != model.end()) || (there && expected->second != found)) FAIL("at step " << step);
      }
    }
    if (table.count != model.size()) FAIL("count at step " << step);
  }
  CHECK(contents(table) == model);
  mtev_hash_destroy(&table, &std::free, &std::free);
}

TEST_CASE("without memory the process ends with a line", "[no-emulator]") {
  if (EVENTER_ASAN || EVENTER_TSAN || eventer::context::running_on_valgrind())
    EVENTER_SKIP("such tools have an allocator of their own, and no use for a limit");
  const child_result child = run_in_child([] {
    const rlimit limit{256 << 20, 256 << 20};
    ::setrlimit(RLIMIT_AS, &limit);
    static char keys[64 << 20];
    mtev_hash_table table = MTEV_HASH_EMPTY;
    for (int i = 0; i + 4 < static_cast<int>(sizeof keys); i += 4) {
      std::memcpy(keys + i, &i, 4);
      mtev_hash_store(&table, keys + i, 4, nullptr);
    }
  });
  CHECK(child.signal == SIGABRT);
  CHECK(contains(child.output, ": out of memory\n"));
}
