program modes
  use, intrinsic :: iso_fortran_env, only: error_unit
  implicit none
  character(len=100) :: mode, text
  integer :: i, status
  integer(1), pointer :: block(:)

  call get_command_argument(1, mode)
  select case (mode)
  case ('echo')
    do
      read (*, '(a)', iostat=status) text
      if (status /= 0) exit
      print '(a)', 'got '//trim(text)
    end do
  case ('args')
    do i = 2, command_argument_count()
      call get_command_argument(i, text)
      print '(a)', trim(text)
    end do
  case ('exit')
    stop 3
  case ('stderr')
    write (error_unit, '(a)') 'oops'
  case ('crash')
    call abort()
  case ('unicode')
    print '(a)', 'žluťoučký 🐎 漢字'
  case ('lines')
    do i = 1, 200
      print '(a,i0)', 'line ', i
    end do
  case ('memory')
    do
      allocate (block(16*1024*1024))
      block = 1
      if (sum(int(block)) < 0) print *, block(1)
    end do
  case ('loop')
    print '(a)', 'before'
    do
      call sleep(1)
    end do
  case ('file')
    open (10, file='out.txt')
    write (10, '(a)') 'made here'
    close (10)
  end select
end program modes
