// The one source of core_link_check: that target exists only for the linker's verdict on the libraries around it.
namespace {
[[maybe_unused]] constexpr int link_check = 0;
}
