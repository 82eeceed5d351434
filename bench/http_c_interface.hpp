// The benchmark's HTTP server through the C interface.
#pragma once

namespace bench {

[[noreturn]] void serve_c_interface();

}  // namespace bench
