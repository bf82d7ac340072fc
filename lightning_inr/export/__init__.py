"""Files for programs and people without lightning_inr: an ONNX decoder, and a page that plays a video in a browser."""

from lightning_inr.export.files import ExportedFile, export_file, export_onnx, export_page

export = export_file

__all__ = ["ExportedFile", "export", "export_file", "export_onnx", "export_page"]
