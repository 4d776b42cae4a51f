# What every target of ours is compiled with.
#
# project_options   warnings as errors, and the sanitizers when SANITIZE is set
# torch_pch         a precompiled header of LibTorch, which otherwise costs 25 s a file

set(SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined")

add_library(project_options INTERFACE)
target_include_directories(project_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(project_options INTERFACE
  # -Wno-restrict: GCC 12 sees an overlap in every "literal" + std::string (its bug 105651).
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-restrict -Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror --Werror=all-warnings>)
target_compile_definitions(project_options INTERFACE OMPI_SKIP_MPICXX)
if(CMAKE_UNITY_BUILD)
  # Sources are compiled eight at a time (CMakePresets.json): LibTorch's headers cost each compilation half a minute whatever
  # it compiles. To GCC all but the first file are headers then, which should not use anonymous namespaces.
  target_compile_options(project_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
if(SANITIZE)
  target_compile_options(project_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${SANITIZE} -fno-omit-frame-pointer>)
  target_link_options(project_options INTERFACE -fsanitize=${SANITIZE})
endif()

# CMAKE_POSITION_INDEPENDENT_CODE stays unset: it would give libraries -fPIC and programs -fPIE, and GCC refuses a
# precompiled header made with the other one. Debian's GCC makes position-independent programs by default.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # The slopes are what ccache asks for where precompiled headers are used. Paths below the source folder are hashed as
  # relative ones, so a second build folder or clone finds what the first one made.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()
