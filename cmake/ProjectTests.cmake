# project_test(NAME SOURCES a.cpp... LIBS l... [RANKS 1 2 4] [LABELS ...] [TIMEOUT s])
#
# One GoogleTest binary. Without RANKS it runs as is; with RANKS once under `mpirun -n R` for each R. Those labelled gpu
# are installed too (component tests), with a script that runs them: they travel to machines without a compiler.
set(MPIRUN ${CMAKE_COMMAND} -E env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_mpi_yield_when_idle=1 ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none)

# T_TIMEOUT: what was asked for, or `seconds`; sanitizers make tests slow.
macro(_set_timeout seconds)
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT ${seconds})
  endif()
  if(SANITIZE)
    math(EXPR T_TIMEOUT "5 * ${T_TIMEOUT}")
  endif()
endmacro()

function(project_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;RANKS;LABELS" ${ARGN})
  _set_timeout(600)
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
  if("gpu" IN_LIST T_LABELS)
    get_property(tests DIRECTORY PROPERTY TESTS)
    list(FILTER tests INCLUDE REGEX "^${name}(_np[0-9]+)?$")
    set_tests_properties(${tests} PROPERTIES SKIP_REGULAR_EXPRESSION "no CUDA device")
    set_property(GLOBAL APPEND PROPERTY INSTALLED_TESTS ${name})
    if(NOT T_RANKS)
      set_property(GLOBAL APPEND PROPERTY INSTALLED_TEST_COMMANDS "run ${name} ./${name}")
    endif()
    foreach(ranks ${T_RANKS})
      set_property(GLOBAL APPEND PROPERTY INSTALLED_TEST_COMMANDS
        "run ${name}_np${ranks} mpirun --oversubscribe --bind-to none -n ${ranks} ./${name}")
    endforeach()
  endif()
endfunction()

# project_python_test(NAME SCRIPT test.py [ARGS a...] [LABELS ...] [TIMEOUT s] [SERIAL])
#
# A Python script that exits 0 (passed), 77 (skipped, having said why) or otherwise (failed), run by the interpreter of
# .venv, where torch, numpy and safetensors are. SERIAL: it uses both cores (starts ranks).
find_program(PROJECT_PYTHON python HINTS ${CMAKE_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)

function(project_python_test name)
  cmake_parse_arguments(T "SERIAL" "TIMEOUT;SCRIPT" "ARGS;LABELS" ${ARGN})
  _set_timeout(300)
  if(NOT PROJECT_PYTHON)
    message(STATUS "Test ${name} is left out: no .venv with Python torch (scripts/setup.sh makes one)")
    return()
  endif()
  add_test(NAME ${name} COMMAND ${PROJECT_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/${T_SCRIPT} ${T_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "python;${T_LABELS}" TIMEOUT ${T_TIMEOUT} SKIP_RETURN_CODE 77
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;PYTHONDONTWRITEBYTECODE=1")
  if(T_SERIAL)
    set_tests_properties(${name} PROPERTIES PROCESSORS 2)
  endif()
endfunction()
