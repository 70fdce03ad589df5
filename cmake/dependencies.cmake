# SPDX-License-Identifier: Apache-2.0
# What comes from the distribution, linked statically where the static library costs less memory than
# the shared one (each shared library is a mapping, relocations and a page or more of data for itself).

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(GTest REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)

function(dormouse_static_library target archive)
  find_library(${target}_ARCHIVE NAMES ${archive} REQUIRED)
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE ${${target}_ARCHIVE} ${ARGN})
endfunction()
dormouse_static_library(dormouse_crypto libcrypto.a Threads::Threads dl)
dormouse_static_library(dormouse_ssl libssl.a dormouse_crypto)
dormouse_static_library(dormouse_nghttp2 libnghttp2.a)

add_library(dormouse_asio INTERFACE)
target_compile_definitions(dormouse_asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ERROR_CODE_HEADER_ONLY)
target_link_libraries(dormouse_asio INTERFACE Boost::headers dormouse_ssl Threads::Threads)

# wasmtime's C API, built from third_party/wasmtime by scripts/setup into the cache.
if(DEFINED ENV{DORMOUSE_CACHE})
  set(default_cache $ENV{DORMOUSE_CACHE})
else()
  set(default_cache $ENV{HOME}/.cache/dormouse)
endif()
set(DORMOUSE_CACHE ${default_cache} CACHE PATH "Where slow artefacts are kept")
add_library(dormouse_wasmtime INTERFACE)
target_include_directories(dormouse_wasmtime SYSTEM INTERFACE ${DORMOUSE_CACHE}/wasmtime/current/include)
target_link_libraries(dormouse_wasmtime INTERFACE
  ${DORMOUSE_CACHE}/wasmtime/current/lib/libdormouse_wasmtime.a Threads::Threads dl m)
