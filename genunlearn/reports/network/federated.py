"""stub"""
from genunlearn.reports.network.report import ITEMS as FEDERATIONS
