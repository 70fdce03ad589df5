# SPDX-License-Identifier: Apache-2.0
# What comes from the distribution, linked statically where the static library costs less memory than
# the shared one (each shared library is a mapping, relocations and a page or more of data for itself).

find_package(Threads REQUIRED)
set(Boost_USE_STATIC_LIBS ON)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(GTest REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
# The package's target is the shared library; its archive is there too. Whoever says yaml-cpp gets this.
add_library(dormouse_yaml INTERFACE)
find_library(YAML_ARCHIVE NAMES libyaml-cpp.a REQUIRED)
target_link_libraries(dormouse_yaml INTERFACE ${YAML_ARCHIVE})

function(dormouse_static_libraries target)
  set(archives)
  foreach(archive ${ARGN})
    find_library(${archive}_PATH NAMES ${archive} REQUIRED)
    list(APPEND archives ${${archive}_PATH})
  endforeach()
  add_library(${target} INTERFACE)
  # Searched again until nothing is missing: CMake may put one archive before another that needs it.
  list(JOIN archives "," group)
  target_link_libraries(${target} INTERFACE "-Wl,--start-group,${group},--end-group" Threads::Threads dl)
endfunction()
dormouse_static_libraries(dormouse_ssl libssl.a libcrypto.a)
dormouse_static_libraries(dormouse_crypto libcrypto.a)
dormouse_static_libraries(dormouse_nghttp2 libnghttp2.a)
dormouse_static_libraries(dormouse_zstd libzstd.a)

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
