// The part of the C interface that needs Boost and RE2, for the tests of it; implementation.cpp has the rest.
#include "eventer/compat/eventer_aco.h"
#include "eventer/compat/parts/http_session.hpp"
#include "eventer/compat/parts/rest.hpp"

namespace rest_test {
// What mtev_http_rest_init registers as "http_rest_api".
extern const eventer::compat::serve_connection rest_type;
const eventer::compat::serve_connection rest_type = &eventer::compat::serve_rest;
// How the file handler opens.
using opener = eventer::unique_fd (*)(const std::string& root, std::string path, bool may_use_openat2);
extern const opener open_beneath;
const opener open_beneath = [](const std::string& root, std::string path, bool may_use_openat2) {
  namespace files = eventer::http::detail;
  const eventer::unique_fd folder = files::open_root(root);
  return folder ? files::open_beneath(folder.get(), std::move(path), files::lookup::anywhere, may_use_openat2)
                : eventer::unique_fd();
};
}  // namespace rest_test
