program hello
  print '(a)', 'Hello from Fortran'
end program hello
