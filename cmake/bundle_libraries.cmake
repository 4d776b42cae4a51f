# Run by cmake --install: copies the shared libraries that some files need into lib/, and gives the copies and the
# copied programs run paths relative to their own place.
#
# BUNDLE_EXECUTABLES BUNDLE_MODULES   files whose libraries to copy
# BUNDLE_EXCLUDE                      folders whose libraries are not copied (LibTorch's)
# BUNDLE_OWN                          files installed beside, relative to the prefix, whose run paths to set too
# PATCHELF                            the program patchelf

if(NOT PATCHELF)
  message(FATAL_ERROR "installing needs patchelf: run scripts/setup.sh, then configure again")
endif()

list(TRANSFORM BUNDLE_EXCLUDE PREPEND "^")
# glibc's and GCC's libraries belong to the machine; libgomp is LibTorch's own, and only one of it may be loaded.
file(GET_RUNTIME_DEPENDENCIES
  EXECUTABLES ${BUNDLE_EXECUTABLES} MODULES ${BUNDLE_MODULES}
  RESOLVED_DEPENDENCIES_VAR _libraries
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|pthread|rt|resolv|util|gcc_s|stdc\\+\\+|gomp)\\.so"
  POST_EXCLUDE_REGEXES ${BUNDLE_EXCLUDE})

set(_prefix "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
set(_copies "")
file(MAKE_DIRECTORY ${_prefix}/lib)
foreach(_library IN LISTS _libraries)
  # Under the name that it is loaded by, and no links: they do not survive every way of copying a tree.
  get_filename_component(_name ${_library} NAME)
  message(STATUS "Installing: ${_prefix}/lib/${_name}")
  get_filename_component(_real ${_library} REALPATH)
  file(COPY_FILE ${_real} ${_prefix}/lib/${_name})
  list(APPEND _copies ${_prefix}/lib/${_name})
endforeach()
foreach(_pattern IN LISTS BUNDLE_OWN)
  file(GLOB _files ${_prefix}/${_pattern})
  list(APPEND _copies ${_files})
endforeach()

foreach(_copy IN LISTS _copies)
  get_filename_component(_folder ${_copy} DIRECTORY)
  file(RELATIVE_PATH _to_lib ${_folder} ${_prefix}/lib)
  string(REGEX REPLACE "/$" "" _run_path "$ORIGIN/${_to_lib}")
  execute_process(COMMAND ${PATCHELF} --set-rpath "${_run_path}:${_run_path}/torch/lib" ${_copy}
                  COMMAND_ERROR_IS_FATAL ANY)
endforeach()
