# SPDX-License-Identifier: Apache-2.0
# CMake toolchain file: builds a C or C++ tree for wasm32-wasip1 with clang and wasi-libc as Debian
# and Ubuntu package them.
#
#   cmake -S DIR -B BUILD -G Ninja -DCMAKE_TOOLCHAIN_FILE=.../wasi-toolchain.cmake -DCMAKE_BUILD_TYPE=Release
#
# DORMOUSE_LLVM_VERSION picks one of several installed versions of clang; by default 19, else the newest.

set(CMAKE_SYSTEM_NAME WASI)
set(CMAKE_SYSTEM_VERSION 1)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(triple wasm32-wasi)
list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR}/cmake)
# CMake's trial projects read this file too, and must find the same things.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES DORMOUSE_LLVM_VERSION DORMOUSE_WASI_SUPPORT)

if(NOT DORMOUSE_LLVM_VERSION)
  foreach(version 19 22 21 20 18 17 16)
    if(EXISTS /usr/lib/llvm-${version}/lib/${triple}/libc++.a AND EXISTS /usr/lib/llvm-${version}/bin/clang)
      set(DORMOUSE_LLVM_VERSION ${version})
      break()
    endif()
  endforeach()
  if(NOT DORMOUSE_LLVM_VERSION)
    set(DORMOUSE_LLVM_VERSION 19)
  endif()
endif()
set(DORMOUSE_LLVM_VERSION ${DORMOUSE_LLVM_VERSION} CACHE STRING "Which of the installed clang versions builds for wasm")
set(llvm /usr/lib/llvm-${DORMOUSE_LLVM_VERSION})

set(missing)
foreach(need
    "${llvm}/bin/clang++ clang-${DORMOUSE_LLVM_VERSION}"
    "${llvm}/bin/wasm-ld lld-${DORMOUSE_LLVM_VERSION}"
    "${llvm}/bin/llvm-ar llvm-${DORMOUSE_LLVM_VERSION}"
    "${llvm}/lib/${triple}/libc++.a libc++-${DORMOUSE_LLVM_VERSION}-dev-wasm32"
    "${llvm}/lib/${triple}/libc++abi.a libc++abi-${DORMOUSE_LLVM_VERSION}-dev-wasm32"
    "${llvm}/lib/clang/${DORMOUSE_LLVM_VERSION}/lib/wasi/libclang_rt.builtins-wasm32.a libclang-rt-${DORMOUSE_LLVM_VERSION}-dev-wasm32"
    "/usr/lib/${triple}/libc.a wasi-libc")
  separate_arguments(need)
  list(GET need 0 file)
  if(NOT EXISTS ${file})
    list(GET need 1 package)
    list(APPEND missing ${package})
  endif()
endforeach()
if(missing)
  list(JOIN missing " " missing)
  message(FATAL_ERROR " The wasm toolchain for C++ is not complete: run `sudo apt-get install ${missing}`.")
endif()

set(CMAKE_C_COMPILER ${llvm}/bin/clang)
set(CMAKE_CXX_COMPILER ${llvm}/bin/clang++)
set(CMAKE_AR ${llvm}/bin/llvm-ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${llvm}/bin/llvm-ranlib CACHE FILEPATH "")
set(CMAKE_NM ${llvm}/bin/llvm-nm CACHE FILEPATH "")
set(CMAKE_C_COMPILER_TARGET ${triple})
set(CMAKE_CXX_COMPILER_TARGET ${triple})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_FIND_ROOT_PATH /usr/lib/${triple} /usr/include/${triple})

# clang would also look into /usr/include and find there headers of the build machine.
set(CMAKE_C_FLAGS_INIT "-nostdlibinc -isystem /usr/include/${triple} -mbulk-memory")
# libc++ for wasm is built without exceptions.
set(CMAKE_CXX_FLAGS_INIT
  "-nostdlibinc -isystem ${llvm}/include/${triple}/c++/v1 -isystem /usr/include/${triple} -mbulk-memory -fno-exceptions")
# The linker's default stack is 64 kB and lies behind the data, which it would silently overwrite.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--stack-first -Wl,-z,stack-size=262144")
# Function names stay for backtraces; the C library's debug sections go.
set(CMAKE_EXE_LINKER_FLAGS_RELEASE_INIT "-Wl,--strip-debug")
set(CMAKE_EXE_LINKER_FLAGS_MINSIZEREL_INIT "-Wl,--strip-debug")

if(NOT DORMOUSE_WASI_SUPPORT)
  set(DORMOUSE_WASI_SUPPORT ${CMAKE_BINARY_DIR}/dormouse-wasi/stack_chk.o)
endif()
if(NOT EXISTS ${DORMOUSE_WASI_SUPPORT})
  get_filename_component(support_dir ${DORMOUSE_WASI_SUPPORT} DIRECTORY)
  file(MAKE_DIRECTORY ${support_dir})
  execute_process(
    COMMAND ${CMAKE_C_COMPILER} --target=${triple} -nostdlibinc -O2 -c
      ${CMAKE_CURRENT_LIST_DIR}/cmake/stack_chk.c -o ${DORMOUSE_WASI_SUPPORT}
    RESULT_VARIABLE failed ERROR_VARIABLE why)
  if(failed)
    message(FATAL_ERROR "${CMAKE_C_COMPILER} cannot compile for ${triple}: ${why}")
  endif()
endif()
set(CMAKE_C_STANDARD_LIBRARIES_INIT ${DORMOUSE_WASI_SUPPORT})
set(CMAKE_CXX_STANDARD_LIBRARIES_INIT ${DORMOUSE_WASI_SUPPORT})
