// Readable names for reports: of a function's address, and of a type's signature.
#pragma once

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// The function's demangled name where the dynamic symbol table has it (link with -rdynamic), else module+offset.
inline std::string name_of_address(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) != 0 && info.dli_sname != nullptr) {
    int status = 0;
    char* const readable = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    std::string name = status == 0 && readable != nullptr ? readable : info.dli_sname;
    std::free(readable);
    return name;
  }
  char text[320];
  if (info.dli_fname != nullptr) {
    const std::string_view file = info.dli_fname;
    const std::size_t slash = file.rfind('/');
    std::snprintf(
        text, sizeof text, "%.255s+0x%zx", info.dli_fname + (slash == std::string_view::npos ? 0 : slash + 1),
        static_cast<std::size_t>(static_cast<const char*>(address) - static_cast<const char*>(info.dli_fbase)));
  } else {
    std::snprintf(text, sizeof text, "%p", address);
  }
  return text;
}

// What stands between "= " and the closing bracket of a __PRETTY_FUNCTION__ of one template parameter.
inline std::string type_in_signature(std::string_view signature) {
  const std::size_t start = signature.find("= ");
  if (start == std::string_view::npos) return std::string(signature);
  const std::size_t end = signature.rfind(']');
  return std::string(signature.substr(start + 2, end == std::string_view::npos ? end : end - start - 2));
}

}  // namespace eventer::inline EVENTER_ABI::detail
