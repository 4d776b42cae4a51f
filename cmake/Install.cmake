# `cmake --install build --prefix X [--strip] [--component C]`: a tree that runs wherever it is moved to.
#
#   bin/{trainer,mels,launcher} run path $ORIGIN/../lib, then LibTorch's folders below it
#   lib/libtrainer_cuda.so      what the programs load where there is a GPU
#   lib/*.so*                   every library of theirs that is neither glibc's, GCC's nor LibTorch's
#   share/trainer/{configs,dashboards,slurm}/
#     (these: component runtime)
#   lib/torch lib/nvidia        LibTorch and what its wheel brings: component libtorch, gigabytes. Where a torch wheel of
#                               the same version lies already, links to its torch/ and nvidia/ do as well.
#   bin/{mpirun,orterun,orted}  Open MPI, for machines without one: component openmpi
#   tests/                      the tests that need a GPU, and run.sh: component tests, installed only by its name

set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME runtime)

# Debian's libraries carry no run paths or wrong ones; this is what makes copies of them find each other.
find_program(PATCHELF patchelf DOC "Needed by cmake --install")

get_filename_component(_site_packages "${LIBTORCH_ROOT_DIR}" DIRECTORY)
set(_programs trainer mels launcher_tool)
set(_run_path $ORIGIN/../lib $ORIGIN/../lib/torch/lib)
if(LIBTORCH_CUDA)
  foreach(_library IN ITEMS ${NCCL_LIBRARY} ${CUDART_LIBRARY})
    get_filename_component(_folder ${_library} DIRECTORY)
    file(RELATIVE_PATH _folder ${_site_packages} ${_folder})
    if(_folder MATCHES "^nvidia/")
      list(APPEND _run_path $ORIGIN/../lib/${_folder})
    endif()
  endforeach()
endif()

set(_tests "")
if(BUILD_TESTING)
  get_property(_tests GLOBAL PROPERTY INSTALLED_TESTS)
  get_property(_test_commands GLOBAL PROPERTY INSTALLED_TEST_COMMANDS)
endif()

set_target_properties(${_programs} ${_tests} PROPERTIES INSTALL_RPATH "${_run_path}")
install(TARGETS ${_programs} RUNTIME DESTINATION bin)
set(_modules "")
if(TARGET launcher_cuda)
  list(TRANSFORM _run_path REPLACE "^\\$ORIGIN/\\.\\./lib" "$ORIGIN" OUTPUT_VARIABLE _module_run_path)
  set_target_properties(launcher_cuda PROPERTIES INSTALL_RPATH "${_module_run_path}")
  install(TARGETS launcher_cuda LIBRARY DESTINATION lib)
  set(_modules $<TARGET_FILE:launcher_cuda>)
endif()
install(DIRECTORY configs/ DESTINATION share/trainer/configs FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY dashboards/ DESTINATION share/trainer/dashboards
        FILES_MATCHING PATTERN "*.json" PATTERN "*.yml" PATTERN "*-test.yml" EXCLUDE)
install(DIRECTORY slurm/ DESTINATION share/trainer/slurm FILES_MATCHING PATTERN "*.sbatch")
install(FILES LICENSE DESTINATION share/doc/trainer)

if(_tests)
  install(TARGETS ${_tests} RUNTIME DESTINATION tests COMPONENT tests EXCLUDE_FROM_ALL)
  list(JOIN _test_commands "\n" _test_commands)
  configure_file(cmake/run_tests.sh.in ${CMAKE_BINARY_DIR}/install/run.sh @ONLY)
  install(PROGRAMS ${CMAKE_BINARY_DIR}/install/run.sh DESTINATION tests COMPONENT tests EXCLUDE_FROM_ALL)
endif()

# Open MPI's plugins must lie at the same place below the new prefix as below the old one.
find_program(OMPI_INFO ompi_info)
find_program(ORTERUN orterun)
find_program(ORTED orted)
set(_openmpi_plugins "")
if(OMPI_INFO AND ORTERUN AND ORTED)
  execute_process(COMMAND ${OMPI_INFO} --path all --parsable OUTPUT_VARIABLE _paths COMMAND_ERROR_IS_FATAL ANY)
  foreach(_name IN ITEMS prefix pkglibdir pkgdatadir)
    string(REGEX MATCH "path:${_name}:([^\n]+)" _ "${_paths}")
    set(_openmpi_${_name} ${CMAKE_MATCH_1})
  endforeach()
  file(RELATIVE_PATH _plugin_folder ${_openmpi_prefix} ${_openmpi_pkglibdir})
  file(RELATIVE_PATH _help_folder ${_openmpi_prefix} ${_openmpi_pkgdatadir})
  # Left out: OpenSHMEM, debuggers' helpers, and the drivers of fabrics that bring many libraries of their own. MPI
  # carries the control traffic here (and all of it on CPU machines); between GPUs NCCL does the work.
  file(GLOB _openmpi_plugins ${_openmpi_pkglibdir}/mca_*.so)
  list(FILTER _openmpi_plugins EXCLUDE REGEX "_(ucx|ofi|openib|psm2?)\\.so$|/mca_(atomic|memheap|scoll|spml|sshmem)_")
  install(PROGRAMS ${ORTERUN} ${ORTED} DESTINATION bin COMPONENT openmpi)
  install(PROGRAMS cmake/mpirun.sh DESTINATION bin RENAME mpirun COMPONENT openmpi)
  install(FILES ${_openmpi_plugins} DESTINATION ${_plugin_folder} COMPONENT openmpi)
  install(DIRECTORY ${_openmpi_pkgdatadir}/ DESTINATION ${_help_folder} COMPONENT openmpi
          FILES_MATCHING PATTERN "help-*.txt")
  find_library(PMIX_LIBRARY NAMES libpmix.so.2 pmix)
  if(PMIX_LIBRARY)  # its plugins lie beside the library, wherever links lead to it
    get_filename_component(_pmix ${PMIX_LIBRARY} REALPATH)
    get_filename_component(_pmix ${_pmix} DIRECTORY)
    install(DIRECTORY ${_pmix}/pmix DESTINATION lib COMPONENT openmpi FILES_MATCHING PATTERN "*.so")
  endif()
endif()

# The libraries, found when installing: bundle_libraries.cmake says what it takes.
function(bundle_libraries component executables modules own)
  cmake_parse_arguments(B "EXCLUDE_FROM_ALL" "" "" ${ARGN})
  set(exclude "")
  if(B_EXCLUDE_FROM_ALL)
    set(exclude EXCLUDE_FROM_ALL)
  endif()
  install(CODE "set(PATCHELF \"${PATCHELF}\")
set(BUNDLE_EXCLUDE \"${_site_packages}/\" \"${LIBTORCH_ROOT_DIR}/\")
set(BUNDLE_EXECUTABLES \"${executables}\")
set(BUNDLE_MODULES \"${modules}\")
set(BUNDLE_OWN \"${own}\")" COMPONENT ${component} ${exclude})
  install(SCRIPT cmake/bundle_libraries.cmake COMPONENT ${component} ${exclude})
endfunction()

list(TRANSFORM _programs REPLACE "(.+)" "$<TARGET_FILE:\\1>" OUTPUT_VARIABLE _program_files)
bundle_libraries(runtime "${_program_files}" "${_modules}" "")
if(_tests)
  list(TRANSFORM _tests REPLACE "(.+)" "$<TARGET_FILE:\\1>" OUTPUT_VARIABLE _test_files)
  bundle_libraries(tests "${_test_files}" "" "" EXCLUDE_FROM_ALL)
endif()
if(_openmpi_plugins)
  bundle_libraries(openmpi "${ORTERUN};${ORTED}" "${_openmpi_plugins}"
                   "bin/orterun;bin/orted;${_plugin_folder}/*.so;lib/pmix/*.so")
endif()

# LibTorch, in the wheel's layout: its libraries find the others by run paths relative to their own place.
install(DIRECTORY ${LIBTORCH_LIBRARY_DIR}/ DESTINATION lib/torch/lib COMPONENT libtorch
        FILES_MATCHING PATTERN "*.so*" PATTERN "libtorch_python*" EXCLUDE PATTERN "libshm*" EXCLUDE)
if(LIBTORCH_CUDA AND IS_DIRECTORY ${_site_packages}/nvidia)
  install(DIRECTORY ${_site_packages}/nvidia DESTINATION lib COMPONENT libtorch
          FILES_MATCHING PATTERN "*.so*" PATTERN "include" EXCLUDE PATTERN "nvvm" EXCLUDE PATTERN "bin" EXCLUDE)
endif()
