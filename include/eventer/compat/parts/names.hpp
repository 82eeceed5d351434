// Section 1.6 of eventer_aco.h: callbacks by name.
#pragma once

#include <cerrno>
#include <cstddef>

#include "eventer/compat/detail/callback_names.hpp"
#include "eventer/compat/eventer_aco.h"

extern "C" {

int eventer_name_callback_ext(const char* name, eventer_func_t f,
                              void (*describe)(char* buf, int len, eventer_t e, void* cl), void* cl) {
  const int error = eventer::compat::name_callback(name, f, describe, cl);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

int eventer_name_callback(const char* name, eventer_func_t f) {
  return eventer_name_callback_ext(name, f, nullptr, nullptr);
}

const char* eventer_name_for_callback(eventer_func_t f) { return eventer::compat::name_of_callback(f).name; }

const char* eventer_name_for_callback_e(eventer_func_t f, eventer_t e) {
  const eventer::compat::callback_name known = eventer::compat::name_of_callback(f);
  if (known.describe == nullptr || e == nullptr) return known.name;
  static thread_local char text[256];
  text[0] = '\0';
  known.describe(text, static_cast<int>(sizeof text), e, known.closure);
  text[sizeof text - 1] = '\0';
  return text;
}

eventer_func_t eventer_callback_for_name(const char* name) {
  return name == nullptr ? nullptr : eventer::compat::find_callback(name);
}

}  // extern "C"
