# project_test(NAME SOURCES a.cpp... LIBS l... [RANKS 1 2 4] [LABELS ...] [TIMEOUT s])
#
# One GoogleTest binary. Without RANKS it runs as is; with RANKS once under `mpirun -n R` for each R.
set(MPIRUN ${CMAKE_COMMAND} -E env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_mpi_yield_when_idle=1 ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none)

function(project_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;RANKS;LABELS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE project_options ${T_LIBS} GTest::gtest GTest::gmock)
  if(NOT T_RANKS)
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT})
  else()
    foreach(ranks ${T_RANKS})
      add_test(NAME ${name}_np${ranks} COMMAND ${MPIRUN} -n ${ranks} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}_np${ranks} PROPERTIES LABELS "${T_LABELS};mpi" TIMEOUT ${T_TIMEOUT}
                           PROCESSORS 2)
    endforeach()
  endif()
endfunction()
