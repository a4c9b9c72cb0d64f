"""The report: run folders -> numbers with their intervals -> one self-contained HTML page.

The walk: `runs` are read from disk, `grids` say what may be averaged, `estimates` are every number
with its bootstrap draws, `groups` the rows of the page (seeds together), all of it a `Comparison`.
Each section turns it into `tables` and `charts`, plain data; `page` draws and lays them out,
`exports` write them for other programs. No torch anywhere, and matplotlib only where a page is
drawn.
"""

from augmix.report.summary import summarise as summarise
from augmix.report.write import export_path as export_path
from augmix.report.write import write_report as write_report
